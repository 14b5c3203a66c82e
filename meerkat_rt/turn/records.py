"""Requests and responses: what is remembered of each, and the states that it goes through."""

from __future__ import annotations

from enum import Enum, auto

import attrs

from ..model.conversation import StopReason, Usage
from .nudge import NudgeClock
from .playback import Part
from .ports import ItemKind, ResponseOptions

# ================================================================ requests


class RequestState(Enum):
    """Where a request is."""

    OWED = auto()  # the provider should answer without being asked
    QUEUED = auto()  # waits for the slot
    SENT = auto()  # asked; no response yet
    BLOCKED = auto()  # refused because another response is active; asked again after that
    RUNNING = auto()  # its response began
    SETTLED = auto()


class RequestTrigger(Enum):
    """What moves a request."""

    SEND = auto()
    BEGAN = auto()
    BUSY = auto()
    RELINK = auto()  # the connection on which it was asked is gone; it is asked again on the next
    EXPECT = auto()  # the provider was asked on the connection before, and has the question still
    SETTLE = auto()


_R, _RT = RequestState, RequestTrigger

REQUEST_TABLE: dict[RequestState, dict[RequestTrigger, RequestState]] = {
    _R.OWED: {_RT.BEGAN: _R.RUNNING, _RT.RELINK: _R.QUEUED, _RT.SETTLE: _R.SETTLED},
    _R.QUEUED: {
        _RT.SEND: _R.SENT,
        _RT.BEGAN: _R.RUNNING,
        _RT.EXPECT: _R.OWED,
        _RT.SETTLE: _R.SETTLED,
    },
    _R.SENT: {
        _RT.BEGAN: _R.RUNNING,
        _RT.BUSY: _R.BLOCKED,
        _RT.RELINK: _R.QUEUED,
        _RT.SETTLE: _R.SETTLED,
    },
    _R.BLOCKED: {
        _RT.SEND: _R.SENT,
        _RT.BEGAN: _R.RUNNING,
        _RT.RELINK: _R.QUEUED,
        _RT.SETTLE: _R.SETTLED,
    },
    _R.RUNNING: {_RT.BUSY: _R.BLOCKED, _RT.RELINK: _R.QUEUED, _RT.SETTLE: _R.SETTLED},
    _R.SETTLED: {},
}


class Why(Enum):
    """For whose sake a response is requested."""

    TURN = auto()  # the provider should answer a committed turn by itself
    TEXT = auto()
    COMMIT = auto()
    APPLICATION = auto()
    TOOLS = auto()


@attrs.define(eq=False)
class Request:
    """One obligation to produce a response."""

    id: str
    why: Why
    options: ResponseOptions
    nudge: NudgeClock
    state: RequestState
    refs: list[str] = attrs.field(factory=list)
    retries: int = 0
    cuts: int = 0  # answers to it that ended with their connection
    not_before: float = 0.0

    def fire(self, trigger: RequestTrigger) -> bool:
        """Take the transition if there is one; whether there was."""
        state = REQUEST_TABLE[self.state].get(trigger)
        if state is None:
            return False
        self.state = state
        return True


# ================================================================ responses


class ResponsePhase(Enum):
    """Where a response is."""

    ACTIVE = auto()  # the model is producing it
    DYING = auto()  # cut off: no more output gets through, its terminal is awaited
    ENDED = auto()  # terminal seen; audio is still to be heard, or calls are open
    SILENCED = auto()  # ended, and cut off
    GONE = auto()


class ResponseTrigger(Enum):
    """What moves a response."""

    CUT = auto()
    TERMINAL = auto()
    QUIET = auto()


_S, _ST = ResponsePhase, ResponseTrigger

RESPONSE_TABLE: dict[ResponsePhase, dict[ResponseTrigger, ResponsePhase]] = {
    _S.ACTIVE: {_ST.CUT: _S.DYING, _ST.TERMINAL: _S.ENDED},
    _S.DYING: {_ST.TERMINAL: _S.SILENCED},
    _S.ENDED: {_ST.CUT: _S.SILENCED, _ST.QUIET: _S.GONE},
    _S.SILENCED: {_ST.QUIET: _S.GONE},
    _S.GONE: {},
}


@attrs.define(eq=False)
class OutputItem:
    """An item of a response.  `text`: history has some of its text."""

    kind: ItemKind
    text: bool = False


@attrs.define(eq=False)
class Response:
    """What is remembered of a response until it is heard and its calls are over."""

    id: str
    in_conversation: bool = True
    request_id: str | None = None
    phase: ResponsePhase = ResponsePhase.ACTIVE
    answers: list[Request] = attrs.field(factory=list)
    interrupted: bool = False  # Interrupted was said
    progressed: bool = False  # some output came
    sounded: bool = False  # it has spoken output
    called: bool = False  # it called a tool
    cancel_sent: bool = False
    items: dict[str, OutputItem] = attrs.field(factory=dict)
    parts: dict[tuple[str, int], Part] = attrs.field(factory=dict)
    written: dict[tuple[str, int], list[str]] = attrs.field(factory=dict)
    held: tuple[StopReason, Usage] | None = None  # its completion, until it has been heard

    def fire(self, trigger: ResponseTrigger) -> bool:
        """Take the transition if there is one; whether there was."""
        phase = RESPONSE_TABLE[self.phase].get(trigger)
        if phase is None:
            return False
        self.phase = phase
        return True
