"""The way in to the OpenAI side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from .doors import Entry
from .engine import Engine
from .handshake import admit, too_many_connections
from .options import ServerOptions

if TYPE_CHECKING:
    from .doors import Upgrade
    from .handshake import Admission


@attrs.frozen
class OpenAIDoor:
    """Admits clients of the Realtime protocol."""

    options: ServerOptions

    @property
    def path(self) -> str:
        """Where it is."""
        return "/v1/realtime"

    def admit(self, upgrade: Upgrade, *, full: bool) -> Entry | None:
        """Decide about a request; None: it is not for this door."""
        admission = admit(upgrade, self.options.access)
        if admission is None:
            return None
        if admission.refusal is None and full:
            admission = too_many_connections(admission)
        return Entry(
            engine=partial(self._engine, admission),
            subprotocol=admission.subprotocol,
            refusal=admission.refusal,
        )

    def _engine(self, admission: Admission, seed: str) -> Engine:
        options = self.options
        lifetime = options.limits.session_seconds
        return Engine(
            kind=admission.kind,
            model=admission.model,
            seed=seed,
            expires_at=int(options.wall_clock() + lifetime),
            session_seconds=lifetime,
            voice=options.voice,
            hears_words=options.hears_words,
            quirks=options.quirks,
        )
