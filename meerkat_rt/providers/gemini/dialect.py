"""The Gemini Live dialect, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from ...model.conversation import JSON, Provider, ToolDef
from ...model.errors import InvalidConfig, InvalidRequest
from ...model.live_config import RealtimeConfig, SessionUpdateConfig, ToolDefinition
from ...model.media import (
    RealtimeAudioFormat,
    RealtimeCapabilities,
    RealtimeInputKind,
    RealtimeOutputKind,
    RealtimeTurningMode,
)
from ..base import Endpoint, Profile
from . import faults
from .addresses import Platform, Vertex
from .codec import OUTPUT_RATE, GeminiCodec
from .generations import bare, generation
from .manner import Manner, check
from .opening import GeminiOpening
from .seeding import history, instruction
from .session_setup import Settings, check_supported, new_setup, settings_of
from .tools_json import (
    Scheduling,
    ToolBehavior,
    ToolScheduling,
    advertised,
    check_asynchrony,
    declaration,
)
from .wire_json import to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ...model.errors import LlmError
    from ...model.events import CloseReason, ProviderFault
    from ...model.open_config import RealtimeSessionOpenConfig
    from ...turn.ports import ProviderCommand

CANONICAL_MODEL = "gemini-3.8-live"
INPUT_RATE = 16_000  # Hz; what the models hear natively
INPUT_RATES = (8_000, 48_000)  # Hz; others are accepted where they are declared
CONNECTION_CAP = 600.0  # seconds; about, and goAway comes about a minute ahead
# Pongs were seen to take 8 to 30 s; deadlines of 20 s end healthy sessions.
PING_INTERVAL = 30.0
PING_TIMEOUT = 90.0
ANSWER_WINDOW = 2.5  # seconds; four of them in silence, and the model is declared stalled


def _scheduling(value: Any) -> Scheduling:
    if value is None or isinstance(value, ToolScheduling):
        return value
    if isinstance(value, Mapping):
        return {name: _one_scheduling(kind) for name, kind in value.items()}
    return _one_scheduling(value)


def _one_scheduling(value: Any) -> ToolScheduling:
    try:
        return ToolScheduling(value)
    except ValueError:
        allowed = ", ".join(ToolScheduling)
        raise InvalidConfig(f"tool_scheduling is {value!r}; allowed: {allowed}") from None


def _behavior(value: Any) -> ToolBehavior | None:
    try:
        return None if value is None else ToolBehavior(value)
    except ValueError:
        allowed = ", ".join(ToolBehavior)
        raise InvalidConfig(f"tool_behavior is {value!r}; allowed: {allowed}") from None


@attrs.frozen(kw_only=True)
class GeminiDialect:
    """The dialect of one session with `model`, at AI Studio or on Vertex.

    `model` and `turning_mode` are the open config's; `config` is what it does not carry.  `handle`
    resumes the session that it stands for, with this configuration; history is not replayed then.
    `resumption` asks for such handles; `transparent` (Vertex only) for the index of the last
    message of ours that each includes.  `tool_behavior` and `tool_scheduling` say whether the model
    waits for tools, and when it speaks about answers that it did not wait for; None leaves it to
    the model.  `input_rate` is the rate of the input audio, in Hz.

    Raises:
        InvalidConfig: something is asked for that this protocol or model does not have.
    """

    platform: Platform
    model: str
    turning_mode: RealtimeTurningMode = attrs.field(
        default=RealtimeTurningMode.PROVIDER_MANAGED, converter=RealtimeTurningMode
    )
    config: RealtimeConfig = attrs.field(factory=RealtimeConfig)
    handle: str | None = attrs.field(default=None, repr=False)  # whoever has it has the session
    resumption: bool = True
    transparent: bool = False
    tool_behavior: ToolBehavior | None = attrs.field(default=None, converter=_behavior)
    tool_scheduling: Scheduling = attrs.field(default=None, converter=_scheduling)
    input_rate: int = INPUT_RATE
    _setup: Mapping[str, JSON] = attrs.field(init=False, repr=False, eq=False)
    _settings: Settings = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        asked = self.config.model
        if asked is not None and bare(asked) != bare(self.model):
            raise InvalidConfig(
                f"RealtimeConfig.model is {asked!r}, and the open config's llm_identity.model is "
                f"{self.model!r}; leave one of them out, or give the same"
            )
        if not INPUT_RATES[0] <= self.input_rate <= INPUT_RATES[1]:
            low, high = INPUT_RATES
            self._refuse("input_rate", self.input_rate, f"{low} to {high} Hz, best {INPUT_RATE}")
        vertex = isinstance(self.platform, Vertex)
        if self.transparent and not vertex:
            self._refuse("transparent", True, "False, or a session on Vertex")
        if self.transparent and not self.resumption:
            self._refuse("transparent", True, "False, or resumption=True")
        check_asynchrony(
            self.tool_behavior, self.tool_scheduling, generation(self.model), bare(self.model)
        )
        setup = new_setup(self.config, bare(self.model), self.turning_mode, vertex=vertex)
        object.__setattr__(self, "_setup", setup)
        object.__setattr__(self, "_settings", settings_of(setup, self.turning_mode))

    def _refuse(self, setting: str, value: object, allowed: str) -> NoReturn:
        raise InvalidConfig(f"{setting} is {value!r} with {bare(self.model)}; allowed: {allowed}")

    # ------------------------------------------------------------ where and what

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        return self.platform.endpoint(experimental=self._settings.experimental)

    @property
    def profile(self) -> Profile:
        """What the configured model can do.

        Nothing can be truncated, nobody nudged; only an activity of the user's stops the model; and
        turn ends are inferred unless the application tells them.
        """
        settings = self._settings
        known = generation(self.model)
        interruptible = settings.manual and settings.interrupts
        return Profile(
            capabilities=RealtimeCapabilities(
                input_kinds=(RealtimeInputKind.TEXT, RealtimeInputKind.AUDIO),
                output_kinds=tuple(RealtimeOutputKind(each.value) for each in known.modalities),
                turning_modes=tuple(RealtimeTurningMode),
                interrupt_supported=interruptible,
                transcript_supported=settings.transcribes,
                tool_lifecycle_events_supported=True,
                declared_turns=settings.manual,
                audio_input_format=RealtimeAudioFormat.pcm(self.input_rate),
                audio_output_format=RealtimeAudioFormat.pcm(OUTPUT_RATE),
            ),
            modality=settings.modality,
            provider_responds=not settings.manual,
            provider_interrupts=settings.interrupts and not settings.manual,
            provider_continues=True,
            cancel_on_barge_in=settings.interrupts,
            echoes_refs=False,
            answer_window=ANSWER_WINDOW,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            session_cap=CONNECTION_CAP,
        )

    @property
    def functions(self) -> tuple[ToolDef, ...]:
        """Functions of the `RealtimeConfig`.  Advertised where the session has none of its own.

        They have no handler: their calls are the application's to answer.
        """
        return tuple(
            ToolDef(
                name=tool.name,
                description=tool.description or "",
                input_schema={} if tool.parameters is None else tool.parameters,
            )
            for tool in self.config.tools or ()
            if isinstance(tool, ToolDefinition)
        )

    # ------------------------------------------------------------ configuration

    def opening(
        self,
        config: RealtimeSessionOpenConfig,
        tools: Sequence[ToolDef],
        *,
        open_calls: Collection[str] = (),
        resend: Sequence[bytes] = (),
    ) -> GeminiOpening:
        """The handshake that opens a session from `config`, advertising `tools`.

        With a `handle` the provider has the history already.  `open_calls` are told as unanswered:
        a new session takes no answer to a call that it did not make.  `resend` follows the setup of
        a session that is resumed.

        Raises:
            InvalidConfig: `config` and the `RealtimeConfig` contradict each other, or history
                holds an image without its bytes.
        """
        self._check_identity(config, InvalidConfig)
        setup = self._base()
        parts = instruction(config, self.config.instruction)
        if parts:
            setup["systemInstruction"] = {"parts": parts}
        self._add_tools(setup, advertised(config, tools, self.config.tools or ()))
        batches = [] if self.handle is not None else history(config)
        announced = generation(self.model).initial_history
        if batches and announced:
            setup["historyConfig"] = {"initialHistoryInClientContent": True}
        last = len(batches) - 1
        frames = tuple(
            to_json(
                {
                    "clientContent": {
                        "turns": batch,
                        # Of a history that was announced this is the end; of one that was not, it
                        # would be a question.
                        "turnComplete": announced and number == last,
                    }
                }
            )
            for number, batch in enumerate(batches)
        )
        return GeminiOpening(
            setup=to_json({"setup": setup}),
            history=frames or tuple(resend),
            typed=self.fault_error,
        )

    def attaching(self, tools: Sequence[ToolDef] = ()) -> GeminiOpening:
        """The handshake that resumes a session by its handle, with what the `RealtimeConfig` says.

        The protocol configures a resumed session anew, so `tools` have to be advertised again.

        Raises:
            InvalidConfig: there is no handle.
        """
        if self.handle is None:
            raise InvalidConfig("attaching to a Gemini session takes a resumption handle")
        setup = self._base()
        if self.config.instruction:
            setup["systemInstruction"] = {"parts": [{"text": self.config.instruction}]}
        self._add_tools(setup, advertised(None, tools, self.config.tools or ()))
        return GeminiOpening(setup=to_json({"setup": setup}), history=(), typed=self.fault_error)

    def seeds_call(self, call_id: str) -> bool:
        """None: an answer without a call of the session's own closes the connection."""
        return False

    def resuming(self, handle: str) -> GeminiDialect:
        """The same dialect, for the session that `handle` stands for."""
        return attrs.evolve(self, handle=handle)

    def _base(self) -> dict[str, JSON]:
        setup = {"model": self.platform.model_path(self.model), **self._setup}
        if self.resumption or self.handle is not None:
            resumption: dict[str, JSON] = {}
            if self.handle is not None:
                resumption["handle"] = self.handle
            if self.transparent:
                resumption["transparent"] = True
            setup["sessionResumption"] = resumption
        return setup

    def _add_tools(self, setup: dict[str, JSON], tools: Sequence[ToolDef | ToolDefinition]) -> None:
        known = generation(self.model)
        if isinstance(self.tool_scheduling, Mapping):
            names = {tool.name for tool in tools}
            for name, kind in self.tool_scheduling.items():
                if name not in names:
                    told = ", ".join(sorted(names)) or "no tool"
                    self._refuse(f"tool_scheduling[{name!r}]", kind.value, told)
        declarations = [
            declaration(tool, self.tool_behavior, self.tool_scheduling, known) for tool in tools
        ]
        wire = [{"functionDeclarations": declarations}] if declarations else []
        wire += setup.pop("tools", None) or []
        if wire:
            setup["tools"] = wire

    def projection(self, config: RealtimeSessionOpenConfig, tools: Sequence[ToolDef]) -> NoReturn:
        """Nothing: the provider acknowledges no change of a live session.

        Raises:
            InvalidRequest: always; what is wanted takes a resumed session.
        """
        self._check_identity(config, InvalidRequest)
        raise InvalidRequest(
            "Gemini acknowledges no change of a live session; resume it with the new configuration"
        )

    def mutation(self, update: SessionUpdateConfig | RealtimeConfig) -> None:
        """Nothing: any change takes a resumed session.

        Raises:
            InvalidConfig: the model does not have it, resumed or not.
        """
        delta = update if isinstance(update, RealtimeConfig) else update.config
        check_supported(delta, bare(self.model))
        merged = self.config.merged_with(delta)
        model = delta.model or self.model
        vertex = isinstance(self.platform, Vertex)
        new_setup(merged, bare(model), self.turning_mode, vertex=vertex)

    def with_config(self, config: RealtimeConfig) -> GeminiDialect:
        """The same dialect for another configuration."""
        return attrs.evolve(self, config=config)

    def _check_identity(
        self,
        config: RealtimeSessionOpenConfig,
        error: type[InvalidConfig | InvalidRequest],
    ) -> None:
        identity = config.llm_identity
        if identity.provider in (Provider.OPENAI, Provider.ANTHROPIC):
            raise error(
                f"the open config's provider is {identity.provider.value}, and this is Gemini's "
                "protocol; another provider needs another session"
            )
        if bare(identity.model) != bare(self.model):
            raise error(
                f"the open config's model is {identity.model!r}, and this session's is "
                f"{self.model!r}; another model needs another session"
            )
        if config.turning_mode is not self.turning_mode:
            raise error(
                f"the open config's turning mode is {config.turning_mode.value}, and this "
                f"session's is {self.turning_mode.value}; it is fixed for the life of a session"
            )

    # ------------------------------------------------------------ commands and frames

    @property
    def _manner(self) -> Manner:
        return Manner(
            settings=self._settings,
            generation=generation(self.model),
            input_rate=self.input_rate,
            behavior=self.tool_behavior,
            scheduling=self.tool_scheduling,
            counts=self.transparent,
        )

    def codec(self, link: str) -> GeminiCodec:
        """The language on one connection, which numbers what the protocol does not name."""
        return GeminiCodec(link, self._manner)

    def check(self, command: ProviderCommand) -> None:
        """Refuse what could not be encoded.

        Raises:
            InvalidRequest: this protocol, model or mode has no such thing.
        """
        check(command, self._manner)

    # ------------------------------------------------------------ failures

    def fault_error(self, fault: ProviderFault) -> LlmError:
        """The typed error for what the provider said."""
        return faults.fault_error(fault, self.model)

    def close_reason(self, code: int | None, reason: str) -> tuple[CloseReason, LlmError | None]:
        """What a close frame (code None: none arrived) means; the error is None for a clean end."""
        return faults.close_reason(code, reason, self.model)
