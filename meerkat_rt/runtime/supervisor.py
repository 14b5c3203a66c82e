"""The owner of everything below a session, and the only one that tears it down.

The tree, from the outside in, is the order of teardown backwards:

    hosts       tasks of the transport's library (trio-websocket's reader), stopped last
      writing   the journal writer, where there is a store
        io        receiver, sender, keepalive: the link
          producers   nudge timer, tool dispatch: stopped first

All of it, the tasks of the library too, is shielded from the application's cancellation once the
session is open; what ends the shield is `close_requested`, which body exit, `aclose()`, a fatal
error and outer cancellation all set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..model.events import ClosedBy, CloseReason
from . import link as links
from .errors import WorkerLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..providers.base import Opening
    from ..transport import Connector
    from .core import SessionCore
    from .link import Link

SOCKET_RELEASE = 1.0  # seconds; closing a local socket does not wait for the peer


async def supervise(
    core: SessionCore,
    connector: Connector,
    opening: Opening,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Open the link, run the session until somebody wants it closed, and tear it down.

    Until it has reported that it started it is cancellable like any code, and leaves nothing; from
    then on it ends only by way of the teardown, which is bounded (see SessionLimits).

    Raises:
        LlmError: the session could not be opened.
    """
    try:
        async with trio.open_nursery() as hosts:
            link = await links.open_link(
                dialect=core.dialect,
                connector=connector,
                opening=opening,
                limits=core.limits,
                hosts=hosts,
                name=core.next_link(),
            )
            try:
                task_status.started()
                # It does nothing if the start was cancelled: only then may a shield begin.
                await trio.lowlevel.checkpoint_if_cancelled()
                hosts.cancel_scope.shield = True  # ended by `close_requested`, see the module
                await _serve(core, link)
            finally:
                await _release(core, link, hosts)
    finally:
        # Without a request only a bug of ours, or a start that failed, leads here.
        text = "internal error: the supervisor ended before the session"
        core.request_close(
            CloseReason(by=ClosedBy.RUNTIME, text=text, clean=False), WorkerLost(text)
        )
        try:
            # Has happened, unless the teardown did not get that far.
            core.tools.close()
            core.wind_up()
        finally:
            core.finish()


async def _release(core: SessionCore, link: Link, hosts: trio.Nursery) -> None:
    core.connected = False
    core.link = None
    try:
        with trio.CancelScope(shield=True, relative_deadline=SOCKET_RELEASE):
            await link.transport.aclose()
    finally:
        hosts.cancel_scope.cancel(reason="the session's connection is closed")


async def _serve(core: SessionCore, link: Link) -> None:
    core.session_id = link.session_id
    core.link = link
    core.connected = True
    core.observe(link.held, trio.current_time())
    link.held.clear()
    async with trio.open_nursery() as writing:
        if core.journal is not None:
            writing.start_soon(_vital, core, core.journal.run, name="journal writer")
        await _converse(core, link)
        if core.journal is not None:
            with trio.move_on_after(core.limits.store_grace):
                await core.journal.wait_written()
        writing.cancel_scope.cancel(reason="the session is closed")


async def _converse(core: SessionCore, link: Link) -> None:
    async with trio.open_nursery() as io:
        io.start_soon(_vital, core, links.receive, core, link, name="receiver")
        io.start_soon(_vital, core, links.send, core, link, name="sender")
        if link.dialect.profile.ping_interval is not None:
            io.start_soon(_vital, core, links.keep_alive, core, link, name="keepalive")
        async with trio.open_nursery() as producers:
            producers.start_soon(_vital, core, core.run_timer, name="nudge timer")
            producers.start_soon(_vital, core, core.tools.run, name="tool dispatch")
            await core.close_requested.wait()
            core.wind_up()
            io.start_soon(_name_unresponsive_tools, core, name="tool watch")
            producers.cancel_scope.cancel(reason="the session is closing")
        if not link.ended.is_set():
            with trio.move_on_after(core.limits.close_grace):
                await links.say_goodbye(core, link)
        io.cancel_scope.cancel(reason="the session's connection is being cut")


async def _vital(core: SessionCore, run: Callable[..., Awaitable[None]], *args: object) -> None:
    """A task without which a session cannot live: it ends after a request to close, or is one.

    Whether it was cancelled alone or failed: a session without a receiver, say, would wait for ever
    and look alive.
    """
    try:
        await run(*args)
    finally:
        if not core.close_requested.is_set():
            worker = trio.lowlevel.current_task().name
            text = f"internal error: the {worker} ended before the session"
            reason = CloseReason(by=ClosedBy.RUNTIME, text=text, clean=False)
            core.request_close(reason, WorkerLost(text))


async def _name_unresponsive_tools(core: SessionCore) -> None:
    grace = core.limits.interrupt_grace
    await trio.sleep(grace)
    for call in core.tools.running:
        core.tool_unresponsive(call.call_id, call.tool.name, grace)
