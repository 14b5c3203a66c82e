"""How a session is put together, and how it lives around the application's block."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ..model.errors import InvalidConfig
from ..model.events import ClosedBy, CloseReason
from ..turn.effects import MachineSettings
from .core import SessionCore
from .session import RealtimeSession
from .supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..model.media import RealtimeTurningMode
    from ..providers.base import Dialect, Opening
    from ..transport import Connector
    from ..turn.effects import ToolSpec
    from .limits import SessionLimits
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
    attempts = limits.nudge_max_attempts if nudge_max_attempts is None else nudge_max_attempts
    timeout = limits.nudge_timeout if nudge_timeout_ms is None else nudge_timeout_ms / 1000
    return MachineSettings(
        turning_mode=turning_mode,
        capabilities=capabilities,
        modality=profile.modality,
        output_format=capabilities.audio_output_format,
        provider_responds=profile.provider_responds,
        provider_interrupts=profile.provider_interrupts,
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
) -> AsyncGenerator[RealtimeSession, None]:
    """Open a session over `connector`, yield it ready, and leave nothing behind.

    The block's own exception comes out as it is; the nursery inside is not visible.

    Raises:
        LlmError: the session could not be opened.
    """
    core = SessionCore(dialect=dialect, settings=settings, tools=tools, limits=limits)
    try:
        async with trio.open_nursery() as outer:
            await outer.start(supervise, core, connector, opening, name="supervisor")
            outer.start_soon(_close_when_cancelled, core, name="close when cancelled")
            try:
                yield RealtimeSession(core, tools)
            finally:
                core.request_close(CloseReason(by=ClosedBy.APPLICATION))
    except BaseExceptionGroup as group:
        leaf = only_leaf(group)
        if leaf is None:
            raise
        context = leaf.__context__
        try:
            raise leaf
        finally:
            leaf.__context__ = context  # not the group that we took it out of


async def _close_when_cancelled(core: SessionCore) -> None:
    """Turn an outer cancellation into a request to close, at once and wherever the body is."""
    try:
        await core.closed.wait()
    finally:
        core.request_close(CloseReason(by=ClosedBy.APPLICATION, text="cancelled"))


def only_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The one error of a group beside cancellations; None if there are none or several."""
    error: BaseException | None = group.split(trio.Cancelled)[1]
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error
