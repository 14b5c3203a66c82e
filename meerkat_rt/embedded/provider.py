"""The embedded provider as a session's provider: a server of its own for each session."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from ..model.live_config import RealtimeConfig
from ..runtime.factories import OpenAIRealtime
from ..transport import Connector
from .options import ServerOptions
from .server import serve_embedded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..model.media import RealtimeCapabilities, RealtimeTurningMode
    from ..model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig
    from ..runtime.limits import SessionLimits
    from ..runtime.ports import Conversation, Recorder, SessionStore
    from ..runtime.session import RealtimeSession
    from ..runtime.tools import ToolSet


@attrs.frozen(kw_only=True)
class EmbeddedProvider:
    """Runs sessions against a server inside this process: no key, no network.

    The server speaks OpenAI's protocol over a real WebSocket on a loopback port, and lives exactly
    as long as the session.  `options` says how it behaves, `config` and `connector` are those of
    `OpenAIRealtime`.
    """

    options: ServerOptions = attrs.field(factory=ServerOptions)
    config: RealtimeConfig = attrs.field(factory=RealtimeConfig)
    connector: Connector | str = "websockets"
    seed: int | None = None

    def capabilities(self) -> RealtimeCapabilities:
        """What the embedded model can do."""
        return self._client("ws://127.0.0.1").capabilities()

    @asynccontextmanager
    async def open_session(
        self,
        config: RealtimeSessionOpenConfig,
        *,
        tools: ToolSet | None = None,
        store: SessionStore | Conversation | None = None,
        recorder: Recorder | None = None,
        limits: SessionLimits | None = None,
    ) -> AsyncGenerator[RealtimeSession, None]:
        """See `meerkat_rt.open_session`."""
        async with (
            serve_embedded(self.options) as server,
            self._client(server.url).open_session(
                config, tools=tools, store=store, recorder=recorder, limits=limits
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
        """See `meerkat_rt.attach_external_session`; the call is made up for the attachment."""
        async with (
            serve_embedded(self.options) as server,
            self._client(server.url).attach_external_session(
                target, turning_mode, tools=tools, store=store, recorder=recorder, limits=limits
            ) as session,
        ):
            yield session

    def _client(self, url: str) -> OpenAIRealtime:
        token = self.options.access.token
        return OpenAIRealtime(
            api_key=token or "",
            base_url=url,
            config=self.config,
            connector=self.connector,
            seed=self.seed,
        )
