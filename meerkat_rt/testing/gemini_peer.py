"""A scripted Gemini Live server: its messages, in the order in which the reference tells them.

Single messages are there to be sent in any order that a test wants; `text_response`,
`audio_response`, `tool_call` and `user_turn` send the whole of a documented sequence.  As a live
server does, it sends binary frames, may put several keys into one, and names nothing but calls.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import trio

from .openai_frames import pieces
from .scripted_peer import PATIENCE, ScriptedPeer, ScriptError, compact, played

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    Json = dict[str, Any]

SKIPPED = frozenset({"realtimeInput.audio"})  # a microphone never stops: expect passes over it
BYTES_PER_MS = 48  # of 24 kHz 16-bit mono PCM
CHUNK_MS = 40  # of audio in one part
USAGE = {"promptTokenCount": 12, "responseTokenCount": 34, "totalTokenCount": 46}


class GeminiPeer(ScriptedPeer):
    """The server's half of one Gemini Live connection, for a script to drive.

    A message's type is its key; that of a realtime input has its field too:
    ``realtimeInput.activityStart``.  `setup` is what the client configured.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        patience: float = PATIENCE,
        skipped: frozenset[str] = SKIPPED,
    ) -> None:
        super().__init__(stream, patience=patience, skipped=skipped)
        self.socket.binary = True
        self.setup: Json = {}
        self.tag = ""  # in the ids of calls, where one test has several connections
        self._calls = 0

    def frame_type(self, frame: Mapping[str, Any]) -> str:
        """The message's key, and the field of a realtime input."""
        if "type" in frame:  # what the kit says about a message that is none
            return str(frame["type"])
        key = ",".join(frame) or "(empty)"
        body = frame.get(key)
        if key == "realtimeInput" and isinstance(body, dict):
            return f"{key}.{','.join(body)}"
        return key

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one message, in a binary frame.

        Raises:
            ClientGone: the connection is closing or closed.
        """
        frame = self.prepare(dict(frame))
        self.sent.append(frame)
        await self.faults.deliver(self.frame_type(frame), compact(frame))

    async def content(self, **content: Any) -> None:
        """A `serverContent` with these fields."""
        await self.send({"serverContent": content})

    # -- the session ----------------------------------------------

    async def setup_complete(self, session_id: str | None = "gemini_1") -> None:
        """`setupComplete`, which lets the client speak."""
        await self.send({"setupComplete": {} if session_id is None else {"sessionId": session_id}})

    async def welcome(self, **setup: Any) -> Json:
        """Accept, take the client's setup, and complete it.

        `setup` is what the client's must hold.  Returns all of it.
        """
        await self.accept()
        message = await self.expect("setup", **({"setup": setup} if setup else {}))
        self.setup = message["setup"]
        await self.setup_complete()
        return self.setup

    async def go_away(self, seconds: float) -> None:
        """The connection will be aborted."""
        await self.send({"goAway": {"timeLeft": f"{seconds:g}s"}})

    async def resumable(self, handle: str, *, last_consumed: int | None = None) -> None:
        """The session can be resumed from here."""
        update: Json = {"newHandle": handle, "resumable": True}
        if last_consumed is not None:
            update["lastConsumedClientMessageIndex"] = str(last_consumed)
        await self.send({"sessionResumptionUpdate": update})

    async def not_resumable(self) -> None:
        """The session cannot be resumed from here; what is false is not sent."""
        await self.send({"sessionResumptionUpdate": {}})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; code and reason are the only error messages of this protocol."""
        await self.socket.close(code, reason)

    async def cut_frame(self, frame: Mapping[str, Any] | None = None) -> None:
        """Reset the connection in the middle of a frame."""
        frame = frame or {"serverContent": {"turnComplete": True}}
        await self.socket.cut_frame(json.dumps(frame))

    # -- the user -------------------------------------------------

    async def expect_turn(self, text: str | None = None) -> Json:
        """Expect a turn of text and the request to answer it; the turn's message.

        `text` is what the turn must hold.
        """
        turn = await self.expect("clientContent", clientContent={"turnComplete": False})
        if text is not None:
            said = "".join(
                part.get("text", "")
                for content in turn["clientContent"]["turns"]
                for part in content["parts"]
            )
            if said != text:
                raise ScriptError(f"expected the turn {text!r}, received {said!r}")
        await self.expect("clientContent", clientContent={"turnComplete": True})
        return turn

    async def expect_activity(self) -> None:
        """Expect an activity of the client's, from its beginning to its end."""
        await self.expect("realtimeInput.activityStart")
        await self.expect("realtimeInput.activityEnd")

    async def heard(self, text: str, *, finished: bool = False) -> None:
        """Words of the user's, recognized piece by piece."""
        for piece in pieces(text):
            await self.content(inputTranscription={"text": piece})
        if finished:
            await self.content(inputTranscription={"finished": True})

    async def voice(self, *, began: bool, at_ms: int = 0) -> None:
        """The user began or stopped, on models that tell."""
        kind = "ACTIVITY_START" if began else "ACTIVITY_END"
        await self.send({"voiceActivity": {"type": kind, "audioOffset": f"{at_ms / 1000:g}s"}})

    async def user_turn(self, text: str, *, told: bool = False) -> None:
        """The user speaks; `told`: this model tells of voice activity."""
        if told:
            await self.voice(began=True)
        await self.heard(text)
        if told:
            await self.voice(began=False, at_ms=500)

    # -- the model speaks -----------------------------------------

    async def part(self, **part: Any) -> None:
        """One part of the model's turn."""
        await self.content(modelTurn={"role": "model", "parts": [part]})

    async def audio(self, ms: int = CHUNK_MS, *, byte: int = 1) -> None:
        """So much speech, in one part."""
        data = base64.b64encode(bytes([byte]) * (ms * BYTES_PER_MS)).decode()
        await self.part(inlineData={"mimeType": "audio/pcm;rate=24000", "data": data})

    async def said(self, text: str) -> None:
        """Words of what the model says."""
        for piece in pieces(text):
            await self.content(outputTranscription={"text": piece})

    async def speak(self, transcript: str, *, ms: int = 300, pause: float = 0.0) -> None:
        """So much speech with its words, `pause` seconds before each part."""
        words = pieces(transcript)
        count = max(1, -(-ms // CHUNK_MS))
        for number in range(max(count, len(words))):
            if pause:
                await trio.sleep(pause)
            if number < count:
                await self.audio(min(CHUNK_MS, ms - number * CHUNK_MS))
            if number < len(words):
                await self.content(outputTranscription={"text": words[number]})

    # -- the model's turn ends ------------------------------------

    async def generation_complete(self) -> None:
        """The model has generated everything; it plays still."""
        await self.content(generationComplete=True)

    async def turn_complete(
        self,
        *,
        status: str | None = None,
        reason: str | None = None,
        usage: Mapping[str, Any] | None = USAGE,
    ) -> None:
        """The model's turn is over, with what it cost in the same message."""
        content: Json = {"turnComplete": True}
        if status is not None:
            content["interactionStatus"] = status
        if reason is not None:
            content["turnCompleteReason"] = reason
        message: Json = {"serverContent": content}
        if usage is not None:
            message["usageMetadata"] = dict(usage)
        await self.send(message)

    async def interrupted(self, *calls: str) -> None:
        """The user interrupted: the calls are cancelled, and the turn is over."""
        await self.content(interrupted=True)
        if calls:
            await self.cancel_calls(*calls)
        await self.turn_complete()

    # -- whole responses ------------------------------------------

    async def text_response(self, text: str) -> None:
        """A whole response of written text."""
        for piece in pieces(text):
            await self.part(text=piece)
        await self.generation_complete()
        await self.turn_complete()

    async def audio_response(self, transcript: str, *, ms: int = 300, pause: float = 0.0) -> None:
        """A whole spoken response of `ms` of audio, `pause` seconds before each part."""
        await self.speak(transcript, ms=ms, pause=pause)
        await self.generation_complete()
        await self.turn_complete()

    # -- tools ----------------------------------------------------

    async def tool_call(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        """Call functions, all in one message: pairs of a name and arguments.  Returns the ids."""
        wire: list[Json] = []
        for name, arguments in calls:
            self._calls += 1
            wire.append(
                {"id": f"call_{self.tag}{self._calls}", "name": name, "args": dict(arguments)}
            )
        await self.send({"toolCall": {"functionCalls": wire}})
        return [call["id"] for call in wire]

    async def cancel_calls(self, *call_ids: str) -> None:
        """Nobody wants the answers to these calls any more."""
        await self.send({"toolCallCancellation": {"ids": list(call_ids)}})

    async def expect_tool_response(self, *call_ids: str) -> dict[str, Json]:
        """Expect the answers to these calls, in any order and any number of messages.

        Returns the whole function responses, by call id.
        """
        answers: dict[str, Json] = {}
        while set(answers) != set(call_ids):
            message = await self.expect("toolResponse")
            for answer in message["toolResponse"]["functionResponses"]:
                call_id = answer.get("id", "")
                if call_id not in call_ids:
                    raise ScriptError(f"nobody waits for an answer to {call_id!r}")
                if call_id in answers:
                    raise ScriptError(f"{call_id!r} was answered twice")
                answers[call_id] = answer
        return answers


def gemini_peer(
    stream: trio.abc.Stream,
    script: Callable[[GeminiPeer], Awaitable[object]],
    *,
    patience: float = PATIENCE,
    client_may_leave: bool | Callable[[], bool] = False,
) -> AbstractAsyncContextManager[GeminiPeer]:
    """Play `script` as the server at the other end of a stream, beside the block.

    ``async with gemini_peer(wire.server, script) as peer:``; see `scripted_peer.played` for how it
    ends and what it raises.
    """
    peer = GeminiPeer(stream, patience=patience)
    return played(peer, script, client_may_leave=client_may_leave)
