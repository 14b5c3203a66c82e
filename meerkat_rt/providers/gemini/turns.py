"""What this protocol does not say and a session needs to know: whose turn it is.

There are no ids, and of all beginnings and ends only two are told: that the model stopped because
the user did something (`interrupted`), and that its turn is over (`turnComplete`).  So turns and
responses are numbered here, and their boundaries are inferred, by these rules:

* A response begins with the first thing that the model says or does, and ends with its turn.  A
  response that called tools ends when all its calls have been answered or revoked, or when the
  model speaks on before that; what follows is another one.
* The user's turn begins with the first recognized word, or with voice activity where the model
  tells of it.  It is committed when the activity ends, where that is told or is the application's
  to say; otherwise by the answer, and then the boundary says that it was inferred.
* An answer to nothing that we know of (no words, no text, no tool's output) answers the audio that
  was sent, if any was: the words may still come.
* The user's words are final when the provider says so, when the model has finished generating, has
  spoken for `SETTLED_AFTER`, or goes on after a tool: later ones begin a new turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ...model.conversation import Usage
from ...model.events import ProviderFault
from ...turn import ports
from ...turn.ports import ResponseStatus

if TYPE_CHECKING:
    from ...turn.ports import ProviderEvent

SETTLED_AFTER = 5 * 48_000  # bytes; five seconds of what the model says, sooner than they last

_FAILURES = frozenset({"MALFORMED_FUNCTION_CALL", "RESPONSE_REJECTED", "MAX_REGENERATION_REACHED"})
_HARMLESS = frozenset({"", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})


@attrs.define(eq=False)
class UserTurn:
    """What the user is saying, or said last.

    `evident`: there is a sign of it besides the model's answer.  `answered`: that has begun.
    """

    item_id: str
    evident: bool = False
    committed: bool = False
    answered: bool = False
    words: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class Reply:
    """A response that is open, or the last one.

    `spoken` and `written` are its items.  `calls` have no answer yet; `called`: there were some.
    `dead`: the user interrupted it.
    """

    id: str
    spoken: str
    written: str
    said: list[str] = attrs.field(factory=list)
    wrote: list[str] = attrs.field(factory=list)
    audio: int = 0  # bytes
    odd: bytes = b""  # half a sample, until its other half comes
    silent: bool = False  # no more audio or text will come
    called: bool = False
    dead: bool = False
    calls: set[str] = attrs.field(factory=set)


class Turns:
    """Numbers turns and responses on one link, and says where they begin and end.

    What it has to say is appended to `out`, which the codec takes.
    """

    def __init__(self, link: str, *, manual: bool, transcribes: bool) -> None:
        self.out: list[ProviderEvent] = []
        self._link = link
        self._manual = manual
        self._transcribes = transcribes
        self.began = 0  # responses so far
        self._minted = 0
        self._user: UserTurn | None = None
        self._earlier: UserTurn | None = None  # committed before it; words may still come
        self._reply: Reply | None = None
        self._last: Reply | None = None  # the response before, for words that trail it
        self._unanswered = False  # a turn of the user's is over and settled, and has no answer yet
        self._in_turn = False  # the model's turn has begun
        self._stray = False  # an interruption without a turn; its end is not a turn's either
        self._speaking = False  # voice activity
        self._audio_sent = False  # since the last response began
        self._prompted = False  # by something other than speech, since the last response began
        self._commanded = False  # by a command of ours that interrupts, during this turn
        self._news = False  # something happened since the turn's end that a new one may answer
        self._reason = ""
        self._busy = False  # the provider said that it works on without the user
        self._usage: Usage | None = None  # of the turn so far
        self._counted: Usage | None = None  # of which this much was told

    def mint(self, kind: str) -> str:
        """A new id of this link."""
        self._minted += 1
        return f"gm_{kind}_{self._link}_{self._minted:x}"

    # ---------------------------------------------------------------- what we sent

    def audio_sent(self) -> None:
        """Input audio is on its way."""
        self._audio_sent = True
        if self._manual and (self._user is None or self._user.committed):
            self._open_user(evident=True)

    def prompted(self, *, interrupts: bool) -> None:
        """Something that the model answers is sent; `interrupts`: it stops speaking for it."""
        self._prompted = True
        self._news = True
        self._commanded = self._commanded or interrupts

    def committed(self) -> bool:
        """The application ended the user's turn; whether there was one."""
        if self._user is None or self._user.committed:
            return False
        self._commit_user(inferred=False)
        return True

    def activity_began(self) -> None:
        """The application said that the user begins, which interrupts the model."""
        self._commanded = True
        self._news = True

    def answered(self, call_id: str) -> None:
        """A call has its answer, or nobody wants one any more."""
        for reply in (self._reply, self._last):
            if reply is not None and call_id in reply.calls:
                reply.calls.discard(call_id)
                if reply is self._reply and not reply.calls:
                    self._settle_answered()
                    self._end_reply(ResponseStatus.COMPLETED)

    # ---------------------------------------------------------------- the user

    def _open_user(self, *, evident: bool) -> UserTurn:
        if self._user is not None:
            self._settle_earlier()
            self._earlier = self._user
        self._user = UserTurn(self.mint("user"), evident=evident)
        return self._user

    def _commit_user(self, *, inferred: bool) -> None:
        if self._user is not None and not self._user.committed:
            self._user.committed = True
            self.out.append(ports.InputCommitted(item_id=self._user.item_id, inferred=inferred))

    def _settle(self, turn: UserTurn) -> None:
        """The words of a committed turn are final."""
        words = "".join(turn.words).strip()
        if words:
            self.out.append(ports.InputTranscriptDone(item_id=turn.item_id, text=words))
        elif self._transcribes and turn.evident:
            fault = ProviderFault(code="no_transcription", message="no words were recognized")
            self.out.append(ports.InputTranscriptFailed(item_id=turn.item_id, fault=fault))
        elif self._transcribes:
            # Only the answer made it look as if somebody had spoken.
            self.out.append(ports.ItemDeleted(turn.item_id))

    def _settle_earlier(self) -> None:
        if self._earlier is not None:
            self._settle(self._earlier)
            self._earlier = None

    def _settle_answered(self) -> None:
        """What the user said before the answer is final; what was not answered yet goes on."""
        self._settle_earlier()
        if self._user is not None and self._user.answered:
            self._settle_newest()

    def _settle_newest(self) -> None:
        if self._user is not None and self._user.committed:
            self._settle(self._user)
            self._unanswered = not self._user.answered
            self._user = None

    def heard(self, text: str, *, finished: bool) -> None:
        """More words of the user's, or the last of them."""
        turn = self._earlier or self._user
        if text:
            self._news = True
            if turn is None and self._manual:
                # It belongs to a turn that is over; there is no item to give it to.
                self.out.append(ports.InputTranscriptDelta(delta=text))
                return
            turn = turn or self._open_user(evident=True)
            turn.evident = True
            turn.words.append(text)
            self.out.append(ports.InputTranscriptDelta(item_id=turn.item_id, delta=text))
        if finished:
            if self._earlier is not None:
                self._settle_earlier()
            else:
                self._settle_newest()

    def voice(self, *, began: bool, at_ms: int) -> None:
        """The provider heard the user begin or stop."""
        if began is self._speaking:
            return
        self._speaking = began
        self._news = True
        if began and not self._manual:
            if self._user is None or self._user.committed:
                self._open_user(evident=True)
            assert self._user is not None
            self._user.evident = True
        item_id = None if self._user is None else self._user.item_id
        if began:
            self.out.append(ports.SpeechStarted(item_id=item_id, audio_start_ms=at_ms))
            return
        self.out.append(ports.SpeechStopped(item_id=item_id, audio_end_ms=at_ms))
        if not self._manual:
            self._commit_user(inferred=False)

    # ---------------------------------------------------------------- the model begins

    def _begin(self) -> Reply:
        if not self._manual:
            asked = self._in_turn or self._prompted or self._busy or self._unanswered
            if self._user is None and self._audio_sent and not asked:
                self._open_user(evident=False)
            self._commit_user(inferred=True)
        if self._user is not None and self._user.committed:
            self._user.answered = True
        self._settle_earlier()
        if not self._in_turn:
            self._usage = self._counted = None
        self._in_turn = True
        self._audio_sent = self._prompted = self._busy = self._commanded = self._stray = False
        self._unanswered = False
        self._news = False
        self.began += 1
        reply = Reply(self.mint("resp"), self.mint("said"), self.mint("text"))
        self._reply = reply
        self.out.append(ports.ResponseBegan(response_id=reply.id))
        return reply

    def _speaker(self) -> Reply:
        """The response that new output belongs to."""
        reply = self._reply
        if reply is None:
            return self._begin()
        if reply.called:
            self._settle_answered()
            self._end_reply(ResponseStatus.COMPLETED)
            return self._begin()
        if reply.dead and self._news:
            # Its end was never told, and this cannot be it.
            self._end_turn()
            return self._begin()
        return reply

    # ---------------------------------------------------------------- the model speaks

    def audio(self, data: bytes) -> None:
        """More speech, in whole samples or not."""
        reply = self._speaker()
        if reply.odd:
            data, reply.odd = reply.odd + data, b""
        if len(data) % 2:
            data, reply.odd = data[:-1], data[-1:]
        if not data:
            return
        before, reply.audio = reply.audio, reply.audio + len(data)
        self.out.append(ports.AudioDelta(reply.id, reply.spoken, data))
        if before < SETTLED_AFTER <= reply.audio:
            self._settle_answered()

    def text(self, text: str) -> None:
        """More written text."""
        reply = self._speaker()
        reply.wrote.append(text)
        event_id = f"{reply.written}.{len(reply.wrote):x}"
        self.out.append(ports.TextDelta(event_id, reply.id, reply.written, text))

    def progress(self) -> None:
        """Something else from the model: thinking, running code."""
        self.out.append(ports.OutputProgress(response_id=self._speaker().id))

    def said(self, text: str) -> None:
        """More words of what the model says; they may come before its sound, or after its turn."""
        reply = self._reply
        if reply is None:
            last = self._last
            trails = last is not None and last.audio > 0 and not (self._news or self._in_turn)
            reply = last if last is not None and trails and self._transcribes else self._begin()
        reply.said.append(text)
        event_id = f"{reply.spoken}.{len(reply.said):x}"
        self.out.append(ports.TranscriptDelta(event_id, reply.id, reply.spoken, text))

    def called(self, call_id: str, name: str, arguments: str) -> None:
        """The model calls a tool."""
        reply = self._reply
        if reply is None or not reply.called:
            reply = self._speaker()
        reply.called = True
        reply.calls.add(call_id)
        self.out.append(
            ports.ToolCalled(response_id=reply.id, call_id=call_id, name=name, arguments=arguments)
        )

    # ---------------------------------------------------------------- the model ends

    def interrupted(self) -> None:
        """The provider stopped the model, and wants nothing more of it to be heard."""
        by_user = not (self._manual or self._commanded)
        if not self._in_turn:
            self._stray = True
        reply = self._reply
        if reply is not None:
            reply.dead = True
            self._settle_answered()
        self._news = False
        self.out.append(
            ports.ResponseInterrupted(
                response_id=None if reply is None else reply.id, by_user=by_user
            )
        )

    def generated(self) -> None:
        """The model has said everything, and plays it still."""
        if self._reply is not None:
            self._silence(self._reply)
            self._settle_answered()

    def reason(self, reason: str) -> None:
        """Why the turn ends as it does."""
        self._reason = reason

    def status(self, status: str) -> None:
        """Whether more may come without the user doing anything."""
        if status in ("IN_PROGRESS", "IDLE"):
            self._busy = status == "IN_PROGRESS"

    def completed(self) -> None:
        """The model's turn is over."""
        if self._reply is None and not self._in_turn and not self._stray:
            turn = self._user
            if self._manual:
                spoken = turn is not None and turn.committed
            else:
                spoken = turn is not None and not self._speaking
            if self._prompted or self._unanswered or spoken:
                self._begin()  # it had its turn and said nothing
        self._end_turn()

    def _end_turn(self) -> None:
        if self._reply is not None:
            self._end_reply(*self._status())
        self._settle_answered()
        self._in_turn = self._stray = self._commanded = self._news = False
        self._reason = ""
        self.report_usage()

    def _status(self) -> tuple[ResponseStatus, str | None, ProviderFault | None]:
        reason = self._reason
        if self._reply is not None and self._reply.dead:
            return ResponseStatus.CANCELLED, "interrupted", None
        if reason in _HARMLESS:
            return ResponseStatus.COMPLETED, None, None
        if reason in _FAILURES:
            text = f"the provider gave up the response: {reason}"
            return ResponseStatus.FAILED, reason.lower(), ProviderFault(code=reason, message=text)
        return ResponseStatus.INCOMPLETE, "content_filter", None

    def _silence(self, reply: Reply) -> None:
        if reply.silent or reply.dead:
            return
        reply.silent = True
        if reply.audio:
            self.out.append(ports.AudioDone(response_id=reply.id, item_id=reply.spoken))
        if reply.wrote:
            self.out.append(
                ports.TextDone(
                    event_id=f"{reply.written}.end",
                    response_id=reply.id,
                    item_id=reply.written,
                    text="".join(reply.wrote),
                )
            )

    def _end_reply(
        self,
        status: ResponseStatus,
        reason: str | None = None,
        fault: ProviderFault | None = None,
    ) -> None:
        reply = self._reply
        assert reply is not None
        self._reply, self._last = None, reply
        if reply.dead:
            status, reason = ResponseStatus.CANCELLED, "interrupted"
        else:
            self._silence(reply)
            if reply.said:
                self.out.append(
                    ports.TranscriptDone(
                        event_id=f"{reply.spoken}.end",
                        response_id=reply.id,
                        item_id=reply.spoken,
                        text="".join(reply.said),
                    )
                )
        items = ((reply.spoken, reply.audio or reply.said), (reply.written, reply.wrote))
        self.out.append(
            ports.ResponseEnded(
                response_id=reply.id,
                status=status,
                reason=reason,
                usage=self._uncounted(),
                fault=fault,
                item_ids=tuple(item_id for item_id, used in items if used),
            )
        )

    def dropped(self) -> None:
        """The connection is gone: what was said in answered turns is all that was said in them."""
        self._settle_answered()

    def carry_on(self, before: Turns) -> None:
        """What was sent on the connection before and not heeded has been sent again on this one."""
        self._audio_sent = before._audio_sent
        self._prompted = before._prompted
        self._news = before._news

    # ---------------------------------------------------------------- usage

    def counted(self, usage: Usage) -> None:
        """What the turn has cost so far; each such report replaces the one before."""
        before = self._counted
        if before is not None and (
            usage.input_tokens < before.input_tokens or usage.output_tokens < before.output_tokens
        ):
            self._counted = None  # the provider counts from the beginning again
        self._usage = usage

    def report_usage(self) -> None:
        """Tell what is known and belongs to no response that is still open."""
        if self._reply is None and not self._in_turn:
            usage = self._uncounted()
            if usage is not None and usage.total_tokens:
                self.out.append(ports.UsageReported(usage))

    def _uncounted(self) -> Usage | None:
        usage, before = self._usage, self._counted
        if usage is None or before is None:
            self._counted = usage
            return usage
        self._counted = usage
        cached = usage.cache_read_tokens
        if cached is not None:
            cached = max(0, cached - (before.cache_read_tokens or 0))
        return Usage(
            input_tokens=usage.input_tokens - before.input_tokens,
            output_tokens=usage.output_tokens - before.output_tokens,
            cache_read_tokens=cached,
        )
