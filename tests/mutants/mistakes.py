"""The mistakes: each is one that somebody made, here or in a system like this one."""

from __future__ import annotations

from .planting import Edit, Mutant

SUPERVISOR, LINK, CORE = "runtime.supervisor", "runtime.link", "runtime.core"
LANES, EVENTS, HANDOVER = "runtime.lanes", "runtime.event_lane", "runtime.handover"
COMMANDS, DISPATCH, DIALING = "runtime.commands", "runtime.tool_dispatch", "runtime.dialing"
CONTINUITY = "runtime.continuity"
OPENING, JOURNAL = "runtime.opening", "runtime.journal_writer"
SLOT, HEARING, OUTPUT = "turn.responses", "turn.hearing", "turn.output"
WIRE = "transport.core"
LEDGER, MACHINE, CONTEXT = "turn.tools", "turn.machine", "turn.context"


def _mutant(name: str, about: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name=name, about=about, edits=tuple(Edit(*edit) for edit in edits))


_CLOSING = (
    _mutant(
        "lost-close",
        "the closing event is put behind an await that nothing shields",
        (
            SUPERVISOR,
            "        core.finish()\n",
            "        await trio.lowlevel.checkpoint()\n        core.finish()\n",
        ),
    ),
    _mutant(
        "double-close",
        "the receiver announces a close as well",
        (LINK, "import ClosedBy, CloseReason\n", "import ClosedBy, CloseReason, SessionClosed\n"),
        (
            LINK,
            "    link.ended.set()\n    core",
            "    link.ended.set()\n"
            "    if error is None:\n"
            "        core.events.put([SessionClosed(reason)])\n"
            "    core",
        ),
    ),
    _mutant(
        "no-last-word",
        "the event stream ends without the closing event",
        (CORE, "        self.events.put([SessionClosed(self.reason)])\n", ""),
    ),
    _mutant(
        "out-of-band-close",
        "whoever waits for the end is told when the connection is lost, ahead of what is queued",
        (
            CORE,
            "            self.machine.link_lost(trio.current_time())\n",
            "            self.machine.link_lost(trio.current_time())\n"
            "            self.closed.set()\n",
        ),
    ),
    _mutant(
        "close-before-stop",
        "the event stream is ended while its producers still run",
        (
            CORE,
            "            self.close_requested.set()\n",
            "            self.close_requested.set()\n            self.events.end(error)\n",
        ),
    ),
    _mutant(
        "unbounded-close",
        "the close handshake after a cancellation has no deadline",
        (
            SUPERVISOR,
            "with trio.move_on_after(core.limits.close_grace):",
            "with trio.move_on_after(\n"
            "                1e9 if core.reason.text else core.limits.close_grace\n"
            "            ):",
        ),
    ),
    _mutant(
        "goodbye-to-the-gone",
        "the close handshake is made with a peer that has gone",
        (SUPERVISOR, "if not link.ended.is_set():", "if link:"),
    ),
    _mutant(
        "forgetful-close",
        "the machine is not told of the end",
        (CORE, "            self.machine.close(trio.current_time())\n", ""),
    ),
    _mutant(
        "open-socket",
        "the connection is left to the peer to close",
        (
            LINK,
            "            await link.transport.aclose()\n",
            "            await trio.lowlevel.checkpoint()\n",
        ),
    ),
    _mutant(
        "abandoned-dial",
        "a connection whose opening fails is not closed",
        (DIALING, "        await _abandon(dialled.transport)\n", ""),
    ),
    _mutant(
        "skipped-stop",
        "the connection is released only when all went well",
        (
            LINK,
            "                finally:\n                    await _leave",
            "                except ZeroDivisionError:\n"
            "                    raise\n"
            "                else:\n"
            "                    await _leave",
        ),
    ),
    _mutant(
        "swallow",
        "a cancellation that ends the block does not come out of it",
        (
            OPENING,
            "            reraise(what_to_raise(group, own))\n",
            "            if isinstance(what_to_raise(group, own), trio.Cancelled):\n"
            "                return\n"
            "            reraise(what_to_raise(group, own))\n",
        ),
    ),
    _mutant(
        "unshielded-reader",
        "the reader of the socket dies with the application's tasks",
        (SUPERVISOR, "cancel_scope.shield = True", "cancel_scope.shield = False"),
    ),
    _mutant(
        "shield-before-started",
        "the supervisor shields itself before it has reported that it started",
        (
            SUPERVISOR,
            "                task_status.started()\n",
            "                nursery.cancel_scope.shield = True\n"
            "                task_status.started()\n",
        ),
    ),
    _mutant(
        "silent-worker",
        "a task of the session's that ends too early leaves a session that only looks alive",
        (CORE, "            self.worker_lost(trio.lowlevel.", "            str(trio.lowlevel."),
    ),
    _mutant(
        "unawaited-journal",
        "the close does not wait for the journal to be written",
        (
            SUPERVISOR,
            "                await core.journal.wait_written()\n",
            "                await trio.lowlevel.checkpoint()\n",
        ),
    ),
)

_SENDING = (
    _mutant(
        "cut-frame",
        "after a write that was given up half-way the sender goes on with the next one",
        (
            LINK,
            '    _stalled(core, link, f"the peer took nothing for {core.limits.write:g} s")\n',
            "    await _send(core, link)\n",
        ),
        (
            WIRE,
            "                self._dead = CUT\n            raise\n",
            "                pass\n            raise\n",
        ),
    ),
    _mutant(
        "naive-sender",
        "the sender lets the end of the connection escape during the close",
        (
            LINK,
            "                    await _unwritable(core, link, closed)\n",
            "                    mine = core.link is link and core.reason\n"
            "                    if mine and core.reason.by is ClosedBy.APPLICATION:\n"
            "                        raise\n"
            "                    await _unwritable(core, link, closed)\n",
        ),
    ),
    _mutant(
        "lost-wakeup",
        "the sender takes a signal down that came while it was writing",
        (
            LINK,
            "                if written := link.codec.written():\n",
            "                ready._set = False\n"
            "                if written := link.codec.written():\n",
        ),
    ),
    _mutant(
        "interrupt-behind-audio",
        "the cancellation of a response queues behind the microphone",
        (
            LANES,
            "    AppendAudio,\n    ClearAudio,\n",
            "    AppendAudio,\n    CancelResponse,\n    ClearAudio,\n",
        ),
        (
            LANES,
            "if isinstance(command, CommitAudio) or",
            "if (self._media_bytes and isinstance(command, CancelResponse)) or isinstance(\n"
            "            command, CommitAudio\n"
            "        ) or",
        ),
    ),
    _mutant(
        "stuck-in-the-lane",
        "who waits for room in the control lane is not told of the close",
        (
            LANES,
            "        self._closed = True\n        self._room.unpark_all()\n",
            "        self._closed = True\n",
        ),
    ),
    _mutant(
        "half-done-command",
        "a command that has taken effect may still be cancelled",
        (
            COMMANDS,
            "        self._core.step()\n        await trio.lowlevel.cancel_shielded_checkpoint()\n",
            "        self._core.step()\n        await trio.lowlevel.checkpoint()\n",
        ),
    ),
    _mutant(
        "lossy-read",
        "a cancelled read loses an event",
        (
            EVENTS,
            "            await trio.lowlevel.checkpoint_if_cancelled()\n"
            "            entry = self._queue.popleft()\n",
            "            entry = self._queue.popleft()\n"
            "            await trio.lowlevel.checkpoint_if_cancelled()\n",
        ),
    ),
    _mutant(
        "lossy-batch",
        "a batch is given up behind its first event",
        (
            EVENTS,
            "        most = EVENTS_PER_YIELD",
            "        await trio.lowlevel.checkpoint()\n        most = EVENTS_PER_YIELD",
        ),
    ),
    _mutant(
        "unpruned-lane",
        "the event lane keeps an entry for every response that was ever heard",
        (
            EVENTS,
            "            if not response.bytes:\n"
            "                self._forget(event.response_id, response)\n"
            "            if tell:",
            "            if tell:",
        ),
    ),
)

_TOOLS = (
    _mutant(
        "leak-task",
        "calls are spawned into a nursery that the session does not own",
        (
            DISPATCH,
            'nursery.start_soon(self._run_call, call, name=f"tool {call.tool.name}")',
            "trio.lowlevel.spawn_system_task(\n"
            "                            self._run_call, call, context=contextvars.copy_context()\n"
            "                        )",
        ),
    ),
    _mutant(
        "half-dead-tool",
        "a call's outcome is told behind an await, and a cancelled call tells nothing",
        (
            DISPATCH,
            "            # Also when the whole dispatch is being torn down",
            "            await trio.lowlevel.checkpoint()\n"
            "            # Also when the whole dispatch is being torn down",
        ),
    ),
    _mutant(
        "order-bug",
        "a call that starts while the dispatch is about to sleep is not seen",
        (
            DISPATCH,
            "                    self._wakeup = trio.Event()\n",
            "                    await trio.lowlevel.checkpoint()\n"
            "                    self._wakeup = trio.Event()\n",
        ),
    ),
    _mutant(
        "undead-tool",
        "an interruption settles a call and lets its handler run on",
        (
            LEDGER,
            "                    cancelled.append(call.call_id)\n"
            '                    self._cancel_handler(call, "the response was interrupted")\n',
            "                    pass\n",
        ),
    ),
    _mutant(
        "endless-shield",
        "an interruption waits for the calls without a deadline, shielded if a tool asked for it",
        (
            COMMANDS,
            "with trio.move_on_after(grace, shield=own in stopping):",
            "with trio.CancelScope(shield=own in stopping):",
        ),
    ),
    _mutant(
        "doubled-outcome",
        "the late outcome of a call that has been settled without it is told as a second one",
        (
            LEDGER,
            "            self.late += 1\n",
            "            self.late += 1\n"
            "            self._ctx.events.append(\n"
            "                ToolCallFinished(\n"
            '                    call_id=call_id, tool_name="", outcome=outcome, output=None,\n'
            "                    elapsed_ms=0,\n"
            "                )\n"
            "            )\n",
        ),
    ),
)

_TURNS = (
    _mutant(
        "reset-nudge",
        "microphone audio moves the nudge deadline",
        (
            MACHINE,
            "        self._input.audio_appended(n_bytes)\n",
            "        self._input.audio_appended(n_bytes)\n"
            "        if (owed := self._slot.owed) is not None:\n"
            "            owed.nudge._start = now\n"
            '            self._ctx.deadlines.set(("nudge", owed.id), owed.nudge.deadline)\n',
        ),
    ),
    _mutant(
        "undead-output",
        "late frames of an interrupted response are delivered",
        (
            OUTPUT,
            "        if response.phase is not ResponsePhase.ACTIVE:\n"
            "            self._ctx.dropped += 1\n"
            "            return None\n",
            "",
        ),
    ),
    _mutant(
        "unacknowledged-cancel",
        "a provider that never ends a cancelled response is waited for without a deadline",
        (
            HEARING,
            "            self._ctx.deadlines.set(\n"
            '                ("cancel", response.id), now + self._ctx.settings.cancel_deadline\n'
            "            )\n",
            "",
        ),
    ),
    _mutant(
        "doubled-cancel",
        "each interruption cancels a response that is dying already",
        (HEARING, "if response.cancel_sent or not", "if not"),
    ),
    _mutant(
        "unpruned-map",
        "the references of settled requests are kept",
        (
            SLOT,
            "        for ref in request.refs:\n            self._refs.pop(ref, None)\n",
            "",
        ),
    ),
)

_LINKS = (
    _mutant(
        "uncrossed-lanes",
        "what waited for a lost connection is written to the next one as it is",
        (HANDOVER, "dropped = core.lanes.cross(again, now)", "dropped: list[object] = []"),
    ),
    _mutant(
        "stale-frame",
        "what a connection says that has been replaced is taken for what the new one says",
        (
            LINK,
            "        core.stale_events += len(events)\n",
            "        core.observe(events, trio.current_time())\n",
        ),
    ),
    _mutant(
        "unretired-link",
        "a connection that has been replaced is left open as long as the session lives",
        (CONTINUITY, "            old.retire(core.limits.close_grace)\n", ""),
    ),
)

MUTANTS = {each.name: each for each in (*_CLOSING, *_SENDING, *_TOOLS, *_TURNS, *_LINKS)}
"""Every mutant by its name."""
