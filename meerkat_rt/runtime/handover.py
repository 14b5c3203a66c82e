"""From one connection of a session to the next: what waits, what is made up for, what goes on.

Synchronous steps of the session's core, like all that touch its machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from ..model.events import ProviderErrorReported, ProviderFault
from .aliases import Aliases
from .sent_audio import SentAudio

if TYPE_CHECKING:
    from ..providers.base import Dialect
    from ..turn.crossing import Terms
    from .core import SessionCore
    from .link import Link


def keep_sent_audio(core: SessionCore, since: float) -> None:
    """Remember the audio that is written from now on, for a connection to come.

    None was written between `since` and now.
    """
    fmt = core.settings.capabilities.audio_input_format
    if core.sent_audio is None and fmt is not None:
        core.sent_audio = SentAudio(core.limits.mic_max_age, fmt, since)


def drop_link(core: SessionCore, link: Link) -> None:
    """There is no connection for a while; what can wait for the next one waits."""
    now = trio.current_time()
    core.link = None
    core.events.draw_from(None)
    core.connected = False
    for event in link.codec.dropped():
        core.machine.observe(event, now)
    kept_since = math.inf if core.sent_audio is None else core.sent_audio.kept_since
    point = None if core.continuity is None else core.continuity.point
    replay = None if point is None else link.codec.replay()
    if replay is not None:
        kept_since = -math.inf  # everything that matters will be sent again
    if core.continuity is not None:
        core.continuity.dropping(replay, core.lanes.waiting_outputs())
    since, heard_ms, _ = core.machine.link_dropped(kept_since, now)
    if point is not None and point.at >= since:
        since, heard_ms = point.at, None  # the provider has heard what came before
    again = []
    if core.sent_audio is not None and replay is None:
        again = core.sent_audio.since(since, heard_ms)
    core.sent_audio = None
    dropped = core.lanes.cross(again, now)
    core.step()
    if dropped:
        fault = ProviderFault(code="connection_lost", message="it was not sent")
        core.events.put(ProviderErrorReported(fault=fault, command="raw") for _ in dropped)


def adopt(core: SessionCore, link: Link, dialect: Dialect, terms: Terms) -> None:
    """`link` is the session's connection from now on, and everything that waited goes on."""
    now = trio.current_time()
    core.dialect = dialect
    if terms.settings is not None:
        core.settings = terms.settings
        core.events.speak(terms.settings.output_format)
    connect(core, link, counts_anew=not terms.resumed)
    core.machine.link_restored(terms, now)
    core.step()
    begin(core, link, now)


def connect(core: SessionCore, link: Link, *, counts_anew: bool) -> None:
    """What is written goes to `link`, the first one or another, and it is the session's.

    `counts_anew`: its ids may be those of other things that the session knows.
    """
    core.session_id = link.session_id
    if counts_anew:
        core.step(whole=True)  # the transcript is asked for every id so far
        link.aliases = Aliases.beside(core)
    core.link = link
    core.events.draw_from(link.reading)
    core.connected = True
    if core.continuity is not None and core.continuity.policy is not None:
        keep_sent_audio(core, -math.inf)
    core.lanes.serve(link.ready)


def begin(core: SessionCore, link: Link, now: float) -> None:
    """Hear what `link` heard before it became the session's, maybe its end.

    One whose task was cancelled alone before that is gone already.
    """
    held = link.begin(now)
    core.observe(held if link.aliases is None else link.aliases.heard(held), now)
    if link.ending is not None:
        core.link_lost(link, *link.ending)
    elif link.gone.is_set():
        core.worker_lost("receiver")
