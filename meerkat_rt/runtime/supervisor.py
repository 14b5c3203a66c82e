"""The owner of everything below a session, and the only one that tears it down.

The tree, from the outside in, is the order of teardown backwards:

    links         the session's connection: receiver, sender, keepalive, its library's tasks; and
                  one more at most, that is being made ready, waits or is being closed
      writing     the journal writer, where there is a store, and the nudge timer, which is its
                  timer as well
        producers tool dispatch, continuity: stopped first

All of it, the tasks of the library too, is shielded from the application's cancellation once the
session is open; what ends the shield is `close_requested`, which body exit, `aclose()`, a fatal
error and outer cancellation all set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from . import link as links
from .handover import begin, connect

if TYPE_CHECKING:
    from ..providers.base import Opening
    from ..transport import Connector
    from .core import SessionCore
    from .link import Link


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
        async with trio.open_nursery() as nursery:
            link = await links.start_link(core, connector, core.dialect, opening, nursery)
            try:
                task_status.started()
                # It does nothing if the start was cancelled: only then may a shield begin.
                await trio.lowlevel.checkpoint_if_cancelled()
                nursery.cancel_scope.shield = True  # ended by `close_requested`, see the module
                await _serve(core, link, nursery)
            finally:
                core.connected = False
                core.link = None
                nursery.cancel_scope.cancel(reason="the session is closed")
    finally:
        # Without a request only a bug of ours, or a start that failed, leads here.
        core.worker_lost("supervisor")
        try:
            # Has happened, unless the teardown did not get that far.
            core.tools.close()
            core.wind_up()
        finally:
            core.finish()


async def _serve(core: SessionCore, link: Link, nursery: trio.Nursery) -> None:
    connect(core, link, counts_anew=core.history.past is not None)
    begin(core, link, trio.current_time())
    async with trio.open_nursery() as writing:
        writing.start_soon(core.vital, core.run_timer, name="nudge timer")
        if core.journal is not None:
            writing.start_soon(core.vital, core.journal.run, name="journal writer")
        await _produce(core, nursery, writing)
        await _part(core)
        if core.journal is not None:
            with trio.move_on_after(core.limits.store_grace):
                await core.journal.wait_written()
        writing.cancel_scope.cancel(reason="the session is closed")


async def _produce(core: SessionCore, nursery: trio.Nursery, writing: trio.Nursery) -> None:
    # Shielded: what ends the session may cancel `writing` itself, and tools are named all the same.
    watch = trio.CancelScope(shield=True)
    try:
        async with trio.open_nursery() as producers:
            try:
                producers.start_soon(core.vital, core.tools.run, name="tool dispatch")
                await _until_closing(core, nursery, producers)
            finally:
                # Without a request only a bug of ours leads here; nothing may be asked for behind.
                core.worker_lost("supervisor")
                core.wind_up()
                if core.tools.running:
                    writing.start_soon(_name_unresponsive_tools, core, watch, name="tool watch")
                producers.cancel_scope.cancel(reason="the session is closing")
    finally:
        watch.cancel(reason="no tool runs any more")


async def _until_closing(core: SessionCore, nursery: trio.Nursery, producers: trio.Nursery) -> None:
    continuity = core.continuity  # until it has something to do
    while True:
        if continuity is not None and (continuity.policy is not None or continuity.changes.swaps):
            producers.start_soon(core.vital, continuity.run, nursery, name="continuity")
            continuity = None
        if core.close_requested.is_set():
            return
        await core.summons.wait()


async def _part(core: SessionCore) -> None:
    """Say what is owed on the connection, if there is one, and cut it."""
    link = core.link
    if link is None:
        return
    if not link.ended.is_set():
        with trio.move_on_after(core.limits.close_grace):
            await links.say_goodbye(core, link)
    link.scope.cancel(reason="the session's connection is being cut")
    await link.gone.wait()


async def _name_unresponsive_tools(core: SessionCore, scope: trio.CancelScope) -> None:
    grace = core.limits.interrupt_grace
    with scope:
        await trio.sleep(grace)
        for call in core.tools.running:
            core.tool_unresponsive(call.call_id, call.tool.name, grace)
