"""The providers that ship: each turns a configuration into a running session."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from ..model import checks as check
from ..model.errors import InvalidConfig
from ..model.input_config import VadMode
from ..model.live_config import RealtimeConfig
from ..model.media import RealtimeTurningMode
from ..providers.openai.dialect import BASE_URL, CANONICAL_MODEL, OpenAIDialect
from ..transport import Connector
from ..transport import connector as connector_named
from ..turn.effects import ToolSpec
from .arguments import (
    check_open_config,
    check_provider,
    check_store,
    session_limits,
    tool_set,
)
from .continuity_policy import ContinuityPolicy, checked
from .entrance import Entrance
from .limits import SessionLimits
from .opening import machine_settings, run_session
from .origin import Origin
from .tools import ToolSet, advertised

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from contextlib import AbstractAsyncContextManager

    from ..model.media import RealtimeCapabilities
    from ..model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig
    from ..turn.effects import MachineSettings
    from .ports import Conversation, RealtimeSessionFactory, Recorder, SessionStore
    from .session import RealtimeSession
    from .tools import Handler, Tool


def _connector(given: str | Connector) -> Connector:
    return connector_named(given) if isinstance(given, str) else given


def open_session(
    config: RealtimeSessionOpenConfig,
    *,
    provider: RealtimeSessionFactory,
    tools: ToolSet | Iterable[Tool | Handler] | None = None,
    store: SessionStore | Conversation | None = None,
    recorder: Recorder | None = None,
    limits: SessionLimits | None = None,
    continuity: ContinuityPolicy | None = None,
) -> AbstractAsyncContextManager[RealtimeSession]:
    """Open a session with `provider`; an async context manager that yields it ready.

    `tools` run the calls that have a handler: a ToolSet, or just functions.  `store` keeps the
    conversation: a store alone begins a new one, `Conversation(store=..., id=...)` goes on with a
    stored one.  `recorder` writes down what goes into the session, to be played again
    (`recording.FlightRecorder`).  With `continuity` the session outlives its connections: they are
    replaced before the provider's cap and after a loss, and the conversation goes on.

    Leaving the block, by any road, closes the session and leaves nothing behind: no task, no
    socket, no timer.  An exception of the block comes out as it is.  Cancelled while it connects,
    there is no session, and nothing is left; cancelled later, the session is closed in the bounded
    time of `SessionLimits.close_grace`, shielded.

    Raises:
        InvalidConfig, InvalidRequest: the configuration cannot work; nothing was connected.
        LlmError: the provider could not be reached, or refused.
    """
    check_provider(provider)
    check_open_config(config)
    check_store(store)
    block = provider.open_session(
        config,
        tools=tool_set(tools),
        store=store,
        recorder=recorder,
        limits=session_limits(limits),
        **({} if continuity is None else {"continuity": continuity}),
    )
    return Entrance(block, "open_session")


def attach_external_session(
    target: RealtimeExternalSessionTarget,
    turning_mode: RealtimeTurningMode,
    *,
    provider: RealtimeSessionFactory,
    tools: ToolSet | Iterable[Tool | Handler] | None = None,
    store: SessionStore | Conversation | None = None,
    recorder: Recorder | None = None,
    limits: SessionLimits | None = None,
) -> AbstractAsyncContextManager[RealtimeSession]:
    """Attach to a session that exists at `provider`.  Nothing of it is configured or seeded.

    `turning_mode` says who ends the turns there; `tools` answer its calls.  Leaving and cancelling
    the block is as with `open_session`.

    Raises:
        LlmError: the provider could not be reached, or refused.
    """
    check_provider(provider)
    check_store(store)
    block = provider.attach_external_session(
        target,
        turning_mode,
        tools=tool_set(tools),
        store=store,
        recorder=recorder,
        limits=session_limits(limits),
    )
    return Entrance(block, "attach_external_session")


@attrs.frozen(kw_only=True)
class OpenAIRealtime:
    """OpenAI's Realtime API (GA) over a WebSocket.

    `config` says what the open config does not: voice, formats, turn detection, transcription...
    `connector` is "websockets" (the default), "trio-websocket", or one of your own.  `base_url` and
    `key_header` serve compatible servers (Azure: `key_header="api-key"`); `organization`,
    `project` and `safety_identifier` become the headers of those names.  `seed` makes the ids that
    a session mints reproducible (default: random).  The key is never shown.

    Raises:
        InvalidConfig: there is no key, and `base_url` is the service's own.
    """

    api_key: str = attrs.field(repr=False)
    config: RealtimeConfig = attrs.field(
        factory=RealtimeConfig,
        validator=check.is_a(RealtimeConfig, what="RealtimeConfig(...)", optional=False),
    )
    base_url: str = BASE_URL
    key_header: str = "Authorization"
    organization: str | None = None
    project: str | None = None
    safety_identifier: str | None = None
    output_language: str | None = None
    connector: Connector = attrs.field(
        factory=lambda: connector_named("websockets"), converter=_connector
    )
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        key: Any = self.api_key  # often straight from the environment
        # A compatible server of one's own may want no key; the service always does.
        if not isinstance(key, str) or (self.base_url == BASE_URL and not key.strip()):
            given = "empty" if isinstance(key, str) else type(key).__name__
            raise InvalidConfig(
                f"api_key is {given}; allowed: the key as text (is the environment variable set?)"
            )

    def capabilities(self) -> RealtimeCapabilities:
        """What the canonical model can do."""
        detection = self.config.turn_detection
        manual = detection is not None and detection.mode is VadMode.NONE
        mode = (
            RealtimeTurningMode.EXPLICIT_COMMIT if manual else RealtimeTurningMode.PROVIDER_MANAGED
        )
        model = self.config.model or CANONICAL_MODEL
        return self._dialect(model=model, turning_mode=mode).profile.capabilities

    def dialect(self, config: RealtimeSessionOpenConfig) -> OpenAIDialect:
        """The dialect of a session opened from `config`.

        Raises:
            InvalidConfig: model or protocol lack what is asked, or two configurations disagree.
        """
        return self._dialect(model=config.llm_identity.model, turning_mode=config.turning_mode)

    def settings(
        self,
        config: RealtimeSessionOpenConfig,
        tools: ToolSet | None = None,
        limits: SessionLimits | None = None,
    ) -> MachineSettings:
        """The rules of a session opened from `config`.

        Raises:
            InvalidConfig: model or protocol lack what is asked.
            InvalidRequest: two tools have one name.
        """
        limits = limits or SessionLimits()
        return self._settings(self.dialect(config), config, tools or ToolSet(), limits)

    def _settings(
        self,
        dialect: OpenAIDialect,
        config: RealtimeSessionOpenConfig,
        tools: ToolSet,
        limits: SessionLimits,
    ) -> MachineSettings:
        _, specs = advertised(config, tools, limits.tool_deadline)
        if not specs:  # then those of the RealtimeConfig are advertised, for the application to run
            specs = tuple(
                ToolSpec(name=tool.name, deadline=limits.tool_deadline)
                for tool in dialect.functions
            )
        return machine_settings(
            dialect,
            config.turning_mode,
            specs,
            limits,
            nudge_timeout_ms=config.response_nudge_timeout_ms,
            nudge_max_attempts=config.response_nudge_max_attempts,
            seed=self.seed,
        )

    @asynccontextmanager
    async def open_session(
        self,
        config: RealtimeSessionOpenConfig,
        *,
        tools: ToolSet | None = None,
        store: SessionStore | Conversation | None = None,
        recorder: Recorder | None = None,
        limits: SessionLimits | None = None,
        continuity: ContinuityPolicy | None = None,
    ) -> AsyncGenerator[RealtimeSession, None]:
        """See `meerkat_rt.open_session`."""
        tools, limits = tools or ToolSet(), limits or SessionLimits()
        dialect = self.dialect(config)
        settings = self._settings(dialect, config, tools, limits)
        definitions, _ = advertised(config, tools, limits.tool_deadline)
        async with run_session(
            dialect=dialect,
            connector=self.connector,
            opening=dialect.opening(config, definitions),
            settings=settings,
            tools=tools,
            limits=limits,
            store=store,
            recorder=recorder,
            history=config.seed_messages,
            origin=Origin(provider=self, config=config, tools=tools, limits=limits),
            continuity=checked(continuity, config, settings, tools, limits),
        ) as session:
            yield session

    @asynccontextmanager
    async def attach_external_session(
        self,
        target: RealtimeExternalSessionTarget,
        turning_mode: RealtimeTurningMode,
        *,
        tools: ToolSet | None = None,
        store: SessionStore | Conversation | None = None,
        recorder: Recorder | None = None,
        limits: SessionLimits | None = None,
    ) -> AsyncGenerator[RealtimeSession, None]:
        """Attach to a running call by its id.  See `meerkat_rt.attach_external_session`."""
        tools, limits = tools or ToolSet(), limits or SessionLimits()
        dialect = self._dialect(call_id=target.provider_session_id, turning_mode=turning_mode)
        settings = machine_settings(
            dialect, turning_mode, tools.specs(limits.tool_deadline), limits, seed=self.seed
        )
        async with run_session(
            dialect=dialect,
            connector=self.connector,
            opening=dialect.attaching(),
            settings=settings,
            tools=tools,
            limits=limits,
            store=store,
            recorder=recorder,
        ) as session:
            yield session

    def _dialect(self, **what: Any) -> OpenAIDialect:
        return OpenAIDialect(
            api_key=self.api_key,
            config=self.config,
            base_url=self.base_url,
            key_header=self.key_header,
            organization=self.organization,
            project=self.project,
            safety_identifier=self.safety_identifier,
            output_language=self.output_language,
            **what,
        )
