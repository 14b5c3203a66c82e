"""The embedded server as a session's provider: a server of its own for each session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from ..model import checks as check
from ..model.live_config import RealtimeConfig
from ..providers.gemini.addresses import AiStudio
from ..providers.gemini.dialect import INPUT_RATE
from ..providers.gemini.tools_json import Scheduling, ToolBehavior
from ..runtime.factories import OpenAIRealtime
from ..runtime.factories_gemini import GeminiLive
from ..transport import Connector
from .gemini.shelf import Shelf
from .options import ServerOptions
from .server import serve_embedded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..model.media import RealtimeCapabilities, RealtimeTurningMode
    from ..model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig
    from ..runtime.continuity_policy import ContinuityPolicy
    from ..runtime.limits import SessionLimits
    from ..runtime.ports import Conversation, RealtimeSessionFactory, Recorder, SessionStore
    from ..runtime.session import RealtimeSession
    from ..runtime.tools import ToolSet
    from .server import EmbeddedServer


@attrs.frozen(kw_only=True)
class _Embedded(ABC):
    """Serves while a session lasts; what differs is the provider that connects to it."""

    options: ServerOptions = attrs.field(
        factory=ServerOptions,
        validator=check.is_a(ServerOptions, what="ServerOptions(...)", optional=False),
    )
    config: RealtimeConfig = attrs.field(
        factory=RealtimeConfig,
        validator=check.is_a(RealtimeConfig, what="RealtimeConfig(...)", optional=False),
    )
    connector: Connector | str = "websockets"
    seed: int | None = None

    @abstractmethod
    def _client(self, server: EmbeddedServer | None) -> RealtimeSessionFactory:
        """The provider that connects to `server`; None: only its capabilities are asked."""

    @property
    def _shelf(self) -> Shelf | None:
        return None

    def capabilities(self) -> RealtimeCapabilities:
        """What the embedded model can do."""
        return self._client(None).capabilities()

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
        async with (
            serve_embedded(self.options, shelf=self._shelf) as server,
            self._client(server).open_session(
                config,
                tools=tools,
                store=store,
                recorder=recorder,
                limits=limits,
                continuity=continuity,
            ) as session,
        ):
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
        """See `meerkat_rt.attach_external_session`.

        A call of OpenAI's is made up for the attachment; a session of Gemini's is resumed by the
        handle that an earlier session of this provider was given.
        """
        async with (
            serve_embedded(self.options, shelf=self._shelf) as server,
            self._client(server).attach_external_session(
                target, turning_mode, tools=tools, store=store, recorder=recorder, limits=limits
            ) as session,
        ):
            yield session


@attrs.frozen(kw_only=True)
class EmbeddedProvider(_Embedded):
    """Runs sessions against a server inside this process: no key, no network.

    The server speaks OpenAI's protocol over a real WebSocket on a loopback port, and lives exactly
    as long as the session.  `options` says how it behaves, `config`, `connector` and `seed` are
    those of `OpenAIRealtime`.
    """

    def _client(self, server: EmbeddedServer | None) -> OpenAIRealtime:
        return OpenAIRealtime(
            api_key=self.options.access.token or "",
            base_url="ws://127.0.0.1" if server is None else server.url,
            config=self.config,
            connector=self.connector,
            seed=self.seed,
        )


@attrs.frozen(kw_only=True)
class EmbeddedGemini(_Embedded):
    """The same with Gemini Live's protocol.

    The settings beside `options` are those of `GeminiLive`.  The server lives as long as a session;
    what it keeps for resuming lives as long as this provider.
    """

    resumption: bool = True
    tool_behavior: ToolBehavior | str | None = None
    tool_scheduling: Scheduling | str = None
    input_rate: int = INPUT_RATE
    _sessions: Shelf = attrs.field(
        factory=lambda: Shelf(clock=trio.current_time), init=False, repr=False, eq=False
    )

    @property
    def _shelf(self) -> Shelf:
        return self._sessions

    def _client(self, server: EmbeddedServer | None) -> GeminiLive:
        base_url = "ws://127.0.0.1" if server is None else server.gemini_url
        return GeminiLive(
            platform=AiStudio(api_key=self.options.access.token or "", base_url=base_url),
            config=self.config,
            resumption=self.resumption,
            tool_behavior=self.tool_behavior,
            tool_scheduling=self.tool_scheduling,
            input_rate=self.input_rate,
            connector=self.connector,
            seed=self.seed,
        )
