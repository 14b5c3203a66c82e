"""The OpenAI Realtime dialect, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, urlsplit

import attrs

from ...model.conversation import JSON, Provider, SystemMessage, ToolDef
from ...model.errors import InvalidConfig, InvalidRequest
from ...model.live_config import McpTool, RealtimeConfig, ToolDefinition
from ...model.media import (
    RealtimeCapabilities,
    RealtimeInputKind,
    RealtimeOutputKind,
    RealtimeTurningMode,
    ResponseModality,
)
from ..base import Endpoint, Profile
from . import decoding, encoding, faults, seeding
from .checks import check_supported
from .opening import UPDATE_REF, OpenAIOpening
from .seeding import seeds
from .session_update import (
    Settings,
    changes,
    instructions,
    merge,
    new_session,
    settings_of,
)
from .tools_json import advertised, function_tool, mcp_tool
from .wire_json import to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ...model.errors import LlmError
    from ...model.events import CloseReason, ProviderFault
    from ...model.live_config import SessionUpdateConfig
    from ...model.open_config import RealtimeSessionOpenConfig
    from ...turn.ports import ProviderCommand, ProviderEvent
    from ..base import LinkCodec

BASE_URL = "wss://api.openai.com/v1/realtime"
CANONICAL_MODEL = "gpt-realtime-2.1"
SESSION_CAP = 3600.0  # seconds; the provider ends a session after 60 minutes
PING_INTERVAL = 20.0  # seconds; that of the official client, and of the provider's own pings

_FOREIGN = frozenset({Provider.ANTHROPIC, Provider.GEMINI})


def capabilities(settings: Settings) -> RealtimeCapabilities:
    """What the protocol can do, which is the same for every model, in the configured formats."""
    return RealtimeCapabilities(
        input_kinds=(RealtimeInputKind.TEXT, RealtimeInputKind.AUDIO),
        output_kinds=(RealtimeOutputKind.TEXT, RealtimeOutputKind.AUDIO),
        turning_modes=(RealtimeTurningMode.PROVIDER_MANAGED, RealtimeTurningMode.EXPLICIT_COMMIT),
        interrupt_supported=True,
        transcript_supported=settings.transcribes,
        tool_lifecycle_events_supported=True,
        video_supported=False,
        truncate_supported=True,
        nudge_supported=True,
        declared_turns=True,
        audio_input_format=settings.input_audio,
        audio_output_format=settings.output_audio,
    )


@attrs.frozen(kw_only=True)
class OpenAIDialect:
    """The dialect of one session with `model`, or of one attachment to the call `call_id`.

    `model` and `turning_mode` are the open config's; `config` is what it does not carry.
    `base_url` and `key_header` serve compatible servers: with `key_header="api-key"` the key is
    sent bare under that name, as Azure wants it; with `Authorization` as a bearer token.  An empty
    `api_key` sends none.  `headers` are sent besides.  `output_language` (ISO 639-1) pins the
    language of the answers, which otherwise follows the conversation.

    Raises:
        InvalidConfig: `config` asks for what this protocol or model does not have.
    """

    api_key: str = attrs.field(repr=False)
    model: str | None = None
    call_id: str | None = None
    turning_mode: RealtimeTurningMode = attrs.field(
        default=RealtimeTurningMode.PROVIDER_MANAGED, converter=RealtimeTurningMode
    )
    config: RealtimeConfig = attrs.field(factory=RealtimeConfig)
    base_url: str = BASE_URL
    key_header: str = "Authorization"
    organization: str | None = None
    project: str | None = None
    safety_identifier: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    output_language: str | None = None
    _session: Mapping[str, JSON] = attrs.field(init=False, repr=False, eq=False)
    _settings: Settings = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if (self.model is None) is (self.call_id is None):
            raise InvalidConfig("a dialect is of a model or of a call: give exactly one of the two")
        asked = self.config.model
        if self.model is not None and asked is not None and asked != self.model:
            raise InvalidConfig(
                f"RealtimeConfig.model is {asked!r}, and the open config's llm_identity.model is "
                f"{self.model!r}; leave one of them out, or give the same"
            )
        if urlsplit(self.base_url).scheme not in ("ws", "wss"):
            raise InvalidConfig(f"base_url is {self.base_url!r}; allowed: ws:// and wss:// URLs")
        check_supported(self.config, self.model)
        session = new_session(
            self.config,
            self.turning_mode,
            model=self.model,
            output_language=self.output_language,
        )
        settings = settings_of(session)
        if self.call_id is not None:
            # The call has its own configuration: only what we were told of it counts.
            settings = attrs.evolve(
                settings,
                modality=settings.modality if self.config.modalities else None,
                voice=settings.voice if self.config.voice is not None else None,
            )
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_settings", settings)

    # ------------------------------------------------------------ where and what

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect.  No Beta header: the provider refuses a session that has one."""
        key, value = ("call_id", self.call_id) if self.model is None else ("model", self.model)
        joint = "&" if urlsplit(self.base_url).query else "?"
        headers = dict(self.headers)
        if self.api_key:
            bearer = self.key_header.casefold() == "authorization"
            headers[self.key_header] = f"Bearer {self.api_key}" if bearer else self.api_key
        optional = {
            "OpenAI-Organization": self.organization,
            "OpenAI-Project": self.project,
            "OpenAI-Safety-Identifier": self.safety_identifier,
        }
        headers.update((name, given) for name, given in optional.items() if given is not None)
        return Endpoint(
            url=f"{self.base_url}{joint}{key}={quote(value or '', safe='')}", headers=headers
        )

    @property
    def profile(self) -> Profile:
        """What the configured model can do."""
        settings = self._settings
        return Profile(
            capabilities=capabilities(settings),
            modality=settings.modality or ResponseModality.AUDIO,
            provider_responds=settings.responds,
            provider_interrupts=settings.interrupts,
            echoes_refs=True,
            ping_interval=PING_INTERVAL,
            session_cap=SESSION_CAP,
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
    ) -> OpenAIOpening:
        """The handshake that opens a new session from `config`, advertising `tools`.

        `open_calls` are calls in the history that will be answered in this session; there is
        nothing to resume, and so never anything to `resend`.

        Raises:
            InvalidConfig: `config` and the `RealtimeConfig` contradict each other, or history
                holds an image without its bytes.
        """
        _check_provider(config, InvalidConfig)
        self._check_identity(config, InvalidConfig)
        self._check_instruction(config)
        session = {**self._session, "tools": self._tools(config, tools)}
        update = {"type": "session.update", "event_id": UPDATE_REF, "session": session}
        return OpenAIOpening(
            update=to_json(update), seeds=seeds(config, open_calls), typed=self.fault_error
        )

    def seeds_call(self, call_id: str) -> bool:
        """Any call under an id that a client may give."""
        return seeding.call_id(call_id) == call_id

    def resuming(self, handle: str) -> NoReturn:
        """Nothing: a session ends with its connection.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest("OpenAI's sessions cannot be resumed; open a new one, with history")

    def attaching(self) -> OpenAIOpening:
        """The handshake that attaches to a call: nothing is configured or seeded."""
        return OpenAIOpening(update=None, seeds=(), typed=self.fault_error)

    def projection(
        self, config: RealtimeSessionOpenConfig, tools: Sequence[ToolDef]
    ) -> dict[str, JSON]:
        """What refreshes the provider's view of `config`: modality, instructions, all tools.

        Audio settings are left out, and so stay; history is never replayed.

        Raises:
            InvalidRequest: `config` needs another session.
            InvalidConfig: its tools contradict those of the `RealtimeConfig`.
        """
        _check_provider(config, InvalidRequest)
        self._check_identity(config, InvalidRequest)
        fields: dict[str, JSON] = {"type": "realtime"}
        if (modality := self._settings.modality) is not None:
            fields["output_modalities"] = [modality.value]
        told = instructions(self.config.instruction, self.output_language)
        if told is not None:
            fields["instructions"] = told
        fields["tools"] = self._tools(config, tools)
        return fields

    def with_config(self, config: RealtimeConfig) -> OpenAIDialect:
        """The same dialect for another configuration."""
        return attrs.evolve(self, config=config)

    def mutation(self, update: SessionUpdateConfig | RealtimeConfig) -> dict[str, JSON] | None:
        """What `UpdateSession` carries to apply the fields that `update` sets.

        None: it takes another session, because the model or an audio format would change.

        Raises:
            InvalidConfig: the protocol or the model does not have it, or it contradicts the turning
                mode.
        """
        delta = update if isinstance(update, RealtimeConfig) else update.config
        check_supported(delta, self.model)
        if delta.model not in (None, self.model):
            return None
        merged = self.config.merged_with(delta)
        whole = new_session(
            merged, self.turning_mode, model=self.model, output_language=self.output_language
        )
        after = settings_of(whole)
        before = self._settings
        if (after.input_audio, after.output_audio) != (before.input_audio, before.output_audio):
            return None
        pin = self.output_language if delta.instruction is not None else None
        fields = {"type": "realtime", **changes(delta, output_language=pin)}
        if delta.tools is not None:
            fields["tools"] = [
                mcp_tool(tool) if isinstance(tool, McpTool) else function_tool(tool)
                for tool in delta.tools
            ]
        return fields if delta.extra is None else merge(fields, delta.extra)

    def _tools(
        self, config: RealtimeSessionOpenConfig, tools: Sequence[ToolDef]
    ) -> list[dict[str, JSON]]:
        return advertised(config, tools, self.config.tools or ())

    def _check_identity(
        self,
        config: RealtimeSessionOpenConfig,
        error: type[InvalidConfig | InvalidRequest],
    ) -> None:
        model = config.llm_identity.model
        if self.model is not None and model != self.model:
            raise error(
                f"the open config's model is {model!r}, and this session's is {self.model!r}; "
                "another model needs another session"
            )
        if config.turning_mode is not self.turning_mode:
            raise error(
                f"the open config's turning mode is {config.turning_mode.value}, and this "
                f"session's is {self.turning_mode.value}; it is fixed for the life of a session"
            )

    def _check_instruction(self, config: RealtimeSessionOpenConfig) -> None:
        first = config.seed_messages[0] if config.seed_messages else None
        ours = self.config.instruction
        if isinstance(first, SystemMessage) and ours and first.content != ours:
            raise InvalidConfig(
                f"RealtimeConfig.instruction begins {ours[:40]!r}, and the open config's history "
                f"begins with the system message {first.content[:40]!r}; give one of the two, or "
                "the same"
            )

    # ------------------------------------------------------------ frames

    def codec(self, link: str) -> OpenAIDialect:
        """The dialect itself: the provider names and acknowledges everything."""
        return self

    def check(self, command: ProviderCommand) -> None:
        """Refuse what `encode` would refuse.

        Raises:
            LlmError: see `encode`.
        """
        self.encode(command)

    def dropped(self) -> tuple[ProviderEvent, ...]:
        """Nothing: the provider has told everything that it knows."""
        return ()

    def replay(self) -> None:
        """Nothing: a session ends with its connection."""

    def carry_on(self, before: LinkCodec, calls: Collection[str]) -> None:
        """Nothing: the provider names every call itself."""

    def written(self) -> tuple[ProviderEvent, ...]:
        """Nothing: the provider tells itself what becomes of a command."""
        return ()

    def decode(self, frame: bytes) -> tuple[ProviderEvent, ...]:
        """Events of one frame; see `LinkCodec.decode`."""
        return decoding.decode(frame)

    def decode_all(self, batch: Iterable[bytes]) -> list[ProviderEvent]:
        """Events of frames that came together; see `LinkCodec.decode_all`."""
        return decoding.decode_all(batch)

    def encode(self, command: ProviderCommand) -> Sequence[bytes]:
        """Frames of one command, each with the command's reference.

        Raises:
            InvalidRequest: it cannot be said in this protocol (too much metadata, not JSON).
            RequestTooLarge: over the limit of one event.
        """
        return encoding.encode(command, self._settings)

    # ------------------------------------------------------------ failures

    def fault_error(self, fault: ProviderFault) -> LlmError:
        """The typed error for what the provider said."""
        return faults.fault_error(fault, self.model or "")

    def close_reason(self, code: int | None, reason: str) -> tuple[CloseReason, LlmError | None]:
        """What a close frame (code None: none arrived) means; the error is None for a clean end."""
        return faults.close_reason(code, reason, self.model or "")


def _check_provider(
    config: RealtimeSessionOpenConfig, error: type[InvalidConfig | InvalidRequest]
) -> None:
    provider = config.llm_identity.provider
    if provider in _FOREIGN:
        raise error(
            f"the open config's provider is {provider.value}, and this is OpenAI's protocol; "
            "another provider needs another session"
        )
