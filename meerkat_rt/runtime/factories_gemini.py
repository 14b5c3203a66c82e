"""The Gemini provider: turns a configuration into a running session."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from ..model import checks as check
from ..model.errors import InvalidConfig
from ..model.input_config import VadMode
from ..model.live_config import RealtimeConfig
from ..model.media import RealtimeTurningMode
from ..providers.gemini.addresses import AiStudio, Platform, Vertex
from ..providers.gemini.dialect import CANONICAL_MODEL, INPUT_RATE, GeminiDialect
from ..providers.gemini.tools_json import Scheduling, ToolBehavior
from ..transport import Connector
from ..transport import connector as connector_named
from ..turn.effects import ToolSpec
from .continuity_policy import ContinuityPolicy, checked
from .factories import _connector
from .limits import SessionLimits
from .opening import machine_settings, run_session
from .origin import Origin
from .tools import ToolSet, advertised

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..model.media import RealtimeCapabilities
    from ..model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig
    from ..turn.effects import MachineSettings
    from .ports import Conversation, Recorder, SessionStore
    from .session import RealtimeSession


@attrs.frozen(kw_only=True)
class GeminiLive:
    """Gemini Live over a WebSocket, at AI Studio or on Vertex.

    Give an `api_key` (or the name of an ephemeral token) for AI Studio, or a `platform`:
    `AiStudio(...)`, `Vertex(...)`, or a function that makes one for each session, so that its token
    is fresh.  `config` says what the open config does not: voice, turn detection, transcription...
    The other settings are those of `GeminiDialect`.  `connector` is "websockets" (the default),
    "trio-websocket", or one of your own.  `seed` makes the ids that a session mints reproducible
    (default: random).  Keys and tokens are never shown.
    """

    api_key: str | None = attrs.field(default=None, repr=False)
    platform: Platform | Callable[[], Platform] | None = None
    config: RealtimeConfig = attrs.field(
        factory=RealtimeConfig,
        validator=check.is_a(RealtimeConfig, what="RealtimeConfig(...)", optional=False),
    )
    resumption: bool = True
    transparent: bool = False
    tool_behavior: ToolBehavior | str | None = None
    tool_scheduling: Scheduling | str = None
    input_rate: int = INPUT_RATE
    connector: Connector = attrs.field(
        factory=lambda: connector_named("websockets"), converter=_connector
    )
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        if (self.api_key is None) is (self.platform is None):
            raise InvalidConfig(
                "GeminiLive takes either an api_key or a platform: give exactly one of the two"
            )

    def capabilities(self) -> RealtimeCapabilities:
        """What the canonical model can do, or the one that the `RealtimeConfig` names."""
        detection = self.config.turn_detection
        manual = detection is not None and detection.mode is VadMode.NONE
        mode = (
            RealtimeTurningMode.EXPLICIT_COMMIT if manual else RealtimeTurningMode.PROVIDER_MANAGED
        )
        model = self.config.model or CANONICAL_MODEL
        return self._dialect(model=model, turning_mode=mode).profile.capabilities

    def dialect(self, config: RealtimeSessionOpenConfig) -> GeminiDialect:
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
        dialect: GeminiDialect,
        config: RealtimeSessionOpenConfig,
        tools: ToolSet,
        limits: SessionLimits,
    ) -> MachineSettings:
        _, specs = advertised(config, tools, limits.tool_deadline)
        return machine_settings(
            dialect,
            config.turning_mode,
            specs or _debts(dialect, limits),
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
        """Resume the session whose handle is the target's id.

        The provider has its history; what it is told anew is the `RealtimeConfig`, which must name
        the model, with its tools.  See `meerkat_rt.attach_external_session`.

        Raises:
            InvalidConfig: the `RealtimeConfig` names no model.
        """
        tools, limits = tools or ToolSet(), limits or SessionLimits()
        if self.config.model is None:
            raise InvalidConfig(
                "resuming a Gemini session takes its model; allowed: RealtimeConfig.model set"
            )
        dialect = self._dialect(
            model=self.config.model,
            turning_mode=turning_mode,
            handle=target.provider_session_id,
        )
        specs = tools.specs(limits.tool_deadline) or _debts(dialect, limits)
        settings = machine_settings(dialect, turning_mode, specs, limits, seed=self.seed)
        async with run_session(
            dialect=dialect,
            connector=self.connector,
            opening=dialect.attaching(tools.definitions()),
            settings=settings,
            tools=tools,
            limits=limits,
            store=store,
            recorder=recorder,
        ) as session:
            yield session

    def _dialect(self, **what: Any) -> GeminiDialect:
        platform: Platform
        if self.api_key is not None:
            platform = AiStudio(api_key=self.api_key)
        elif isinstance(self.platform, AiStudio | Vertex):
            platform = self.platform
        else:
            assert self.platform is not None
            platform = self.platform()
        return GeminiDialect(
            platform=platform,
            config=self.config,
            resumption=self.resumption,
            transparent=self.transparent,
            tool_behavior=self.tool_behavior,
            tool_scheduling=self.tool_scheduling,
            input_rate=self.input_rate,
            **what,
        )


def _debts(dialect: GeminiDialect, limits: SessionLimits) -> tuple[ToolSpec, ...]:
    """The rules of functions that only the `RealtimeConfig` has: the application runs them."""
    return tuple(
        ToolSpec(name=tool.name, deadline=limits.tool_deadline) for tool in dialect.functions
    )
