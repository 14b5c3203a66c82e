"""What the runtime asks of a dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from ..model.media import RealtimeCapabilities, ResponseModality

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..model.conversation import ToolDef
    from ..model.errors import LlmError
    from ..model.events import CloseReason, ProviderFault
    from ..model.live_config import RealtimeConfig
    from ..model.open_config import RealtimeSessionOpenConfig
    from ..turn.ports import ProviderCommand, ProviderEvent


@attrs.frozen(kw_only=True)
class Profile:
    """What one model of a provider can do, and how the machine must treat it.

    `provider_responds`, `provider_interrupts`, `provider_continues`, `cancel_on_barge_in` and
    `echoes_refs` are those of `turn.effects.MachineSettings` for the configuration that the dialect
    was made with.  `answer_window` replaces the nudge timeout where the provider takes no nudge and
    the timeout only decides when a silent model is declared stalled.
    """

    capabilities: RealtimeCapabilities
    modality: ResponseModality
    provider_responds: bool
    provider_interrupts: bool
    echoes_refs: bool
    provider_continues: bool = False
    cancel_on_barge_in: bool = True
    answer_window: float | None = None  # seconds; None: the session's nudge timeout
    ping_interval: float | None = 20.0  # seconds of silence; None: the provider pings us
    ping_timeout: float = 20.0  # seconds
    session_cap: float | None = None  # seconds a session may last on one connection


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where to connect.  `headers` may hold the key and are not shown."""

    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    subprotocols: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Replay:
    """Messages of ours that a resumable state does not include, and that nobody has heeded yet.

    `frames` are sent first on the connection that resumes it, exactly as they were.  They hold the
    texts of `items` and the outcomes of `calls`; `asked`: and a request for an answer.
    """

    frames: tuple[bytes, ...] = attrs.field(repr=lambda frames: f"<{len(frames)} frames>")
    items: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    asked: bool = False


class Opening(Protocol):
    """The rules of one handshake, from the socket's opening to a ready session.

    The driver sends the frames of `begin()`, then feeds every decoded event to `observe()` and
    sends what it returns, until `ready`.  Each phase must end within `deadline` seconds.
    """

    @property
    def ready(self) -> bool:
        """The session is configured and seeded."""
        ...

    @property
    def phase(self) -> str:
        """What is being waited for, for people: "session created", "seed acknowledged", ..."""
        ...

    @property
    def deadline(self) -> float:
        """Seconds that the present phase may take, from its beginning."""
        ...

    def begin(self) -> Sequence[bytes]:
        """Frames to send as soon as the connection is open."""
        ...

    def observe(self, event: ProviderEvent) -> tuple[Sequence[bytes], bool]:
        """Frames to send now, and whether the event was the handshake's own.

        An event that is not goes to the machine, in order, once the session is ready.

        Raises:
            LlmError: the provider refused the session.
        """
        ...


class LinkCodec(Protocol):
    """One provider's language on one connection.

    Where the protocol has no ids, no acknowledgements or no beginnings and ends, the codec of the
    link supplies them, so it may remember what went over the link; it is as pure as its dialect.
    """

    def decode(self, frame: bytes) -> tuple[ProviderEvent, ...]:
        """Events of one frame.

        Never raises: what is not understood is UnknownFrame or ProtocolFault.
        """
        ...

    def decode_all(self, batch: Iterable[bytes]) -> list[ProviderEvent]:
        """Events of frames that came together: what `decode` makes of each, in order."""
        ...

    def encode(self, command: ProviderCommand) -> Sequence[bytes]:
        """Frames of one command, to be written in this order.

        Raises:
            InvalidRequest: the provider has no such command; the capability profile says so
                beforehand.
        """
        ...

    def dropped(self) -> tuple[ProviderEvent, ...]:
        """What is known for certain now that the connection is gone, and was not told yet."""
        ...

    def replay(self) -> Replay | None:
        """What has to be sent again to the newest resumable state; None: nobody counts messages."""
        ...

    def carry_on(self, before: LinkCodec, calls: Collection[str]) -> None:
        """This connection goes on with the session that `before` spoke with.

        `calls` are open there still, and are answered here.
        """
        ...

    def written(self) -> tuple[ProviderEvent, ...]:
        """What follows from the commands encoded since the last call, once they are written.

        For what the provider never confirms.  The writer asks after each write; whatever has not
        been asked for by then comes before the events of the next frame.
        """
        ...


class Dialect(Protocol):
    """One provider's language, for one configuration.  Holds no state of a connection."""

    @property
    def profile(self) -> Profile:
        """What the configured model can do."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        ...

    def opening(
        self,
        config: RealtimeSessionOpenConfig,
        tools: Sequence[ToolDef],
        *,
        open_calls: Collection[str] = (),
        resend: Sequence[bytes] = (),
    ) -> Opening:
        """The handshake that opens a new session from `config`, advertising `tools`.

        `open_calls` are calls in the history that will be answered in this session.  `resend` are
        the frames of a `Replay`, for a session that is resumed.
        """
        ...

    def seeds_call(self, call_id: str) -> bool:
        """Whether a new session can be told of this open call, and be given its outcome later."""
        ...

    def resuming(self, handle: str) -> Dialect:
        """The same language, for going on with the provider's session that `handle` stands for.

        Raises:
            InvalidRequest: this provider has no such handles.
        """
        ...

    def attaching(self) -> Opening:
        """The handshake that attaches to an existing session: nothing is configured or seeded."""
        ...

    def projection(self, config: RealtimeSessionOpenConfig, tools: Sequence[ToolDef]) -> object:
        """What `UpdateSession` carries to refresh the provider's view of `config`.

        Raises:
            InvalidRequest: `config` needs another session (another model or provider).
        """
        ...

    @property
    def config(self) -> RealtimeConfig:
        """What was configured beside the open config."""
        ...

    def mutation(self, update: RealtimeConfig) -> object | None:
        """What `UpdateSession` carries to apply the fields that `update` sets to a live session.

        None: the provider can do that only for a new session.

        Raises:
            InvalidConfig: the protocol or the model does not have it.
        """
        ...

    def with_config(self, config: RealtimeConfig) -> Dialect:
        """The same language for another configuration, for when a mutation was acknowledged."""
        ...

    def codec(self, link: str) -> LinkCodec:
        """The language on one connection; `link` is a name that no other connection has.

        What the codec mints ids from, so the same name gives the same ids.
        """
        ...

    def check(self, command: ProviderCommand) -> None:
        """Refuse what could not be encoded, before anything depends on it.

        Raises:
            LlmError: as `LinkCodec.encode` would.
        """
        ...

    def fault_error(self, fault: ProviderFault) -> LlmError:
        """The typed error for what the provider said."""
        ...

    def close_reason(self, code: int | None, reason: str) -> tuple[CloseReason, LlmError | None]:
        """What a close frame (code None: none arrived) means; the error is None for a clean end."""
        ...
