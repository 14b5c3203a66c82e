"""How a session is put together, and how it lives around the application's block."""

from __future__ import annotations

import math
import secrets
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import attrs
import trio

from ..model.errors import InvalidConfig
from ..model.events import ClosedBy, CloseReason
from ..turn.effects import MachineSettings
from .continuity import Continuity
from .core import SessionCore
from .failures import reraise, what_to_raise
from .guests import journal_of, recording_by
from .journal_writer import JournalWriter
from .ports import Conversation, OnStoreFailure
from .session import RealtimeSession
from .supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from ..model.conversation import Message
    from ..model.media import RealtimeTurningMode
    from ..providers.base import Dialect, Opening
    from ..transport import Connector
    from ..turn.effects import ToolSpec
    from .continuity_policy import ContinuityPolicy
    from .guests import GuestJournal
    from .limits import SessionLimits
    from .origin import Origin
    from .ports import Recorder, SessionStore
    from .tools import ToolSet


def machine_settings(
    dialect: Dialect,
    turning_mode: RealtimeTurningMode,
    specs: tuple[ToolSpec, ...],
    limits: SessionLimits,
    *,
    nudge_timeout_ms: int | None = None,
    nudge_max_attempts: int | None = None,
    seed: int | None = None,
) -> MachineSettings:
    """What the machine must know of provider, configuration and limits.

    Raises:
        InvalidConfig: the model cannot do what is asked; before anything is connected.
    """
    profile = dialect.profile
    capabilities = profile.capabilities
    if turning_mode not in capabilities.turning_modes:
        can = ", ".join(capabilities.turning_modes) or "none"
        raise InvalidConfig(f"turning mode {turning_mode} is not supported; this model has: {can}")
    if capabilities.audio_output_format is None:
        raise InvalidConfig("this model does not say in which format it speaks")
    if not capabilities.nudge_supported:
        asked = {
            "response_nudge_timeout_ms": nudge_timeout_ms,
            "response_nudge_max_attempts": nudge_max_attempts or None,
        }
        for field, value in asked.items():
            if value is not None:
                raise InvalidConfig(
                    f"the open config's {field} is {value}, and this model cannot be nudged; leave "
                    "it out"
                )
    attempts = limits.nudge_max_attempts if nudge_max_attempts is None else nudge_max_attempts
    timeout = limits.nudge_timeout if nudge_timeout_ms is None else nudge_timeout_ms / 1000
    if profile.answer_window is not None:
        timeout = profile.answer_window
    return MachineSettings(
        turning_mode=turning_mode,
        capabilities=capabilities,
        modality=profile.modality,
        output_format=capabilities.audio_output_format,
        provider_responds=profile.provider_responds,
        provider_interrupts=profile.provider_interrupts,
        provider_continues=profile.provider_continues,
        cancel_on_barge_in=profile.cancel_on_barge_in,
        transcribes_input=capabilities.transcript_supported,
        echoes_refs=profile.echoes_refs,
        tools=specs,
        nudge_timeout=timeout,
        nudge_max_attempts=attempts,
        cancel_deadline=limits.cancel_acknowledgement,
        truncation_deadline=limits.truncation_acknowledgement,
        update_deadline=limits.update_acknowledgement,
        request_deadline=limits.response_request,
        seed=secrets.randbits(32) if seed is None else seed,
    )


@asynccontextmanager
async def run_session(
    *,
    dialect: Dialect,
    connector: Connector,
    opening: Opening,
    settings: MachineSettings,
    tools: ToolSet,
    limits: SessionLimits,
    store: SessionStore | Conversation | None = None,
    recorder: Recorder | None = None,
    history: tuple[Message, ...] = (),
    origin: Origin | None = None,
    continuity: ContinuityPolicy | None = None,
) -> AsyncGenerator[RealtimeSession, None]:
    """Open a session over `connector`, yield it ready, and leave nothing behind.

    `history` is what the session is seeded with; a new conversation in `store` begins with it.
    `origin` is what other connections are made from, as `continuity` says, or the application asks.
    The block's own exception comes out as it is; the nursery inside is not visible.

    Raises:
        LlmError: the session could not be opened, or the store not, or the recorder not.
    """
    kept = store if isinstance(store, Conversation) or store is None else Conversation(store=store)
    going_on = kept is not None and kept.on_failure is OnStoreFailure.CONTINUE
    conversation_id = None
    opened: AbstractAsyncContextManager[GuestJournal | None] = nullcontext()
    if kept is not None:
        conversation_id = kept.id or f"conv_{secrets.token_hex(12)}"
        opened = journal_of(kept.store, conversation_id, limits)
    with nullcontext() if recorder is None else recording_by(recorder) as recording:
        async with opened as journal:
            if journal is not None:
                settings = _with_other_ids(settings, journal.restored.authority.items_known)
            core = SessionCore(
                dialect=dialect,
                settings=settings,
                tools=tools,
                limits=limits,
                keep_going_without_store=going_on,
                recording=recording,
            )
            core.conversation_id = conversation_id
            if origin is not None:
                core.continuity = Continuity(core, origin, continuity)
            if journal is not None:
                await _go_on(core, journal, history)
            async with _running(core, connector, opening, tools) as session:
                yield session


async def _go_on(core: SessionCore, journal: GuestJournal, history: tuple[Message, ...]) -> None:
    """Write to `journal` from now on; what it has came before the session, or else `history`."""
    core.journal = JournalWriter(
        journal,
        announce=core.announce,
        failed=core.store_failed,
        rearmed=core.set_timer,
        fetch=lambda: core.step(whole=True),
    )
    restored = journal.restored
    if restored.messages or restored.authority.items_known:
        core.history.begin_with((each.message for each in restored.messages), restored.authority)
    core.history.begin_with(await core.journal.begin(history))


def _with_other_ids(settings: MachineSettings, items_before: int) -> MachineSettings:
    """The same, but for the ids: none that an earlier session of the conversation gave.

    With the same seed it would give them again.  Each number of items has seeds of its own.
    """
    spread = items_before * 0x9E37_79B1  # odd: no two numbers of 32 bits come to the same
    return attrs.evolve(settings, seed=(settings.seed + spread) & 0xFFFF_FFFF)


@asynccontextmanager
async def _running(
    core: SessionCore, connector: Connector, opening: Opening, tools: ToolSet
) -> AsyncGenerator[RealtimeSession, None]:
    own: BaseException | None = None
    try:
        async with trio.open_nursery() as outer:
            await outer.start(supervise, core, connector, opening, name="supervisor")
            outer.start_soon(_close_when_cancelled, core, name="close when cancelled")
            try:
                yield RealtimeSession(core, tools)
            except BaseException as error:
                own = error
                raise
            finally:
                core.request_close(_left())
    except BaseExceptionGroup as group:
        try:
            reraise(what_to_raise(group, own))
        finally:
            del own  # this frame is in its traceback


def _left() -> CloseReason:
    """The application has left the session, or was made to."""
    cancelled = trio.current_effective_deadline() == -math.inf
    return CloseReason(by=ClosedBy.APPLICATION, text="cancelled" if cancelled else "")


async def _close_when_cancelled(core: SessionCore) -> None:
    """Turn an outer cancellation into a request to close, at once and wherever the body is."""
    try:
        await core.close_requested.wait()
    finally:
        core.request_close(_left())
