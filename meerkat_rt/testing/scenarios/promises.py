"""What must hold however a session has ended, whatever was done to it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ...model import events as ev
from ...runtime import errors
from ..targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..trial import Trial
    from .stage import Witness


def verify(trial: Trial) -> Iterable[str]:
    """Everything that is wrong with how a run ended."""
    witness: Witness = trial.keep.witness
    if not all(wire.client.closed for wire in witness.taken):
        yield "the socket is open"
    struck = None if trial.injected is None else Target.of(trial.injected)
    # The library's reader is its connection: where another one was made, as after a reset, what was
    # under way on the first may be lost, and the application waits for it in vain.
    replaced = struck is not None and struck.name == "trio-websocket" and len(witness.taken) > 1
    if witness.gave_up and (trial.injected is None or struck is not None) and not replaced:
        # A session without one of its tasks must end, or do without; it must not just sit there.
        yield "silently dead: the application waited for what never came"
    # What is raised within a store is the store's, and told as such.
    told = witness.watching is not None and trial.raised in witness.watching.of_the_store
    hidden = trial.raised is not None and not (witness.surfaced or told)
    if hidden and struck is not None and _is_ours(struck.name):
        yield f"a bug of the runtime was hidden: {trial.raised!r} in {struck.name!r}"
    if witness.session is None or witness.watching is None:
        return
    yield from witness.watching.offences(struck=struck is not None)
    core, said = witness.session._core, witness.said
    closings = [event for event in said if isinstance(event, ev.SessionClosed)]
    if len(closings) != 1 or said[-1] is not closings[0]:
        yield f"closing: {len(closings)} closing events in {len(said)}, the last is {said[-1:]}"
    if witness.session.closed is None or witness.session.is_connected:
        yield "closing: the session does not say that it is closed"
    elif isinstance(core.error, errors.WorkerLost) and struck is None:
        yield f"a bug of the runtime ended the session: {witness.session.closed.text}"
    sizes = {
        **core.machine.ledger_sizes(),
        "requests": len(core.requests),
        "acknowledgements": len(core.acknowledgements),
        "running calls": len(core.tools.running),
    }
    if remembered := {name: size for name, size in sizes.items() if size}:
        yield f"still remembered: {remembered}"
    yield from _unbalanced(said)


def _is_ours(task: str) -> bool:
    """Whether it is a task of the runtime's, and no tool's or library's."""
    return task == "tool dispatch" or not task.startswith(("tool ", "trio-websocket"))


def _unbalanced(said: list[Any]) -> Iterable[str]:
    started = Counter(e.response_id for e in said if isinstance(e, ev.ResponseStarted))
    ended = Counter(e.response_id for e in said if isinstance(e, ev.TurnCompleted))
    if started != ended or set(started.values()) - {1}:
        yield f"responses: started {dict(started)}, ended {dict(ended)}"
    interrupted = Counter(e.response_id for e in said if isinstance(e, ev.Interrupted))
    if set(interrupted.values()) - {1}:
        yield f"interrupted {dict(interrupted)}"
    called = Counter(e.call_id for e in said if isinstance(e, ev.ToolCallRequested))
    finished = Counter(e.call_id for e in said if isinstance(e, ev.ToolCallFinished))
    if called != finished or set(called.values()) - {1}:
        yield f"calls: requested {dict(called)}, finished {dict(finished)}"
