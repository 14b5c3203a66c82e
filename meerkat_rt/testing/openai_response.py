"""A response of the scripted OpenAI server that the script is in the middle of."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import attrs
import trio

from . import openai_frames as frames
from .openai_frames import Json, Modality, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .openai_peer import OpenAIPeer  # noqa: TC004 - it imports this module

_CHUNK_MS = 100  # of audio in one delta


@attrs.define(kw_only=True, eq=False)
class ResponseInPlay:
    """A response that the script is in the middle of."""

    peer: OpenAIPeer
    id: str
    modality: Modality
    in_conversation: bool = True  # or out of band: its items do not enter the conversation
    metadata: dict[str, str] | None = None
    output: list[Json] = attrs.field(factory=list)
    _items: int = 0

    def value(
        self,
        status: str,
        *,
        status_details: Json | None = None,
        usage: Json | None = None,
    ) -> Json:
        """The response object, with every key that the wire has."""
        session_output = self.peer.session["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": status_details,
            "output": list(self.output),
            "conversation_id": "conv_1" if self.in_conversation else None,
            "output_modalities": [self.modality],
            "max_output_tokens": self.peer.session["max_output_tokens"],
            "audio": {
                "output": {"format": session_output["format"], "voice": session_output["voice"]}
            },
            "usage": usage,
            "metadata": self.metadata,
        }

    async def _open_item(self, item: Json) -> int:
        index = self._items
        self._items += 1
        await self.peer.send(
            {
                "type": "response.output_item.added",
                "response_id": self.id,
                "output_index": index,
                "item": item,
            }
        )
        if self.in_conversation:
            await self.peer.item_added(item)
        return index

    async def _close_item(self, index: int, item: Json, previous_item_id: str | None) -> None:
        if self.in_conversation:
            await self.peer.item_done(item, previous_item_id)
        await self.peer.send(
            {
                "type": "response.output_item.done",
                "response_id": self.id,
                "output_index": index,
                "item": item,
            }
        )
        self.output.append(item)

    async def message(self, modality: Modality | None = None) -> MessageInPlay:
        """Begin a message: its item is added, and its one content part."""
        modality = modality or self.modality
        item_id, previous = self.peer.new_id("item"), self.peer.last_item_id
        index = await self._open_item(frames.assistant_item(item_id, "in_progress"))
        message = MessageInPlay(
            response=self, id=item_id, modality=modality, index=index, previous_item_id=previous
        )
        await message._send("response.content_part.added", part=frames.part(modality, ""))
        return message

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | str,
        *,
        call_id: str | None = None,
        status: Status = "completed",
    ) -> str:
        """A whole function call.  Returns its call id."""
        text = arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
        call_id = call_id or self.peer.new_id("call")
        item_id, previous = self.peer.new_id("item"), self.peer.last_item_id

        def item(status: str, arguments: str) -> Json:
            return frames.call_item(
                item_id, status, call_id=call_id, name=name, arguments=arguments
            )

        index = await self._open_item(item("in_progress", ""))
        where = {
            "response_id": self.id,
            "item_id": item_id,
            "output_index": index,
            "call_id": call_id,
        }
        kind = "response.function_call_arguments"
        half = len(text) // 2
        for delta in filter(None, (text[:half], text[half:])):
            await self.peer.send({"type": f"{kind}.delta", **where, "delta": delta})
        await self.peer.send({"type": f"{kind}.done", **where, "name": name, "arguments": text})
        item_status = "completed" if status == "completed" else "incomplete"
        await self._close_item(index, item(item_status, text), previous)
        return call_id

    async def done(
        self,
        status: Status = "completed",
        *,
        reason: str | None = None,
        error: Json | None = None,
        rate_limits: bool = True,
    ) -> None:
        """`response.done`, and the rate limits that follow it.

        `reason` goes with "cancelled" (turn_detected, client_cancelled) and "incomplete"
        (max_output_tokens, content_filter), `error` with "failed".
        """
        details: Json | None = None
        if status != "completed":
            details = {"type": status, "reason": reason, "error": error}
        value = self.value(status, status_details=details, usage=frames.usage())
        await self.peer.send({"type": "response.done", "response": value})
        if rate_limits:
            await self.peer.rate_limits()

    async def cancelled(
        self, *open_messages: MessageInPlay, reason: str = "client_cancelled"
    ) -> None:
        """The tail of a response that was cut off: open messages end incomplete, then it does."""
        for message in open_messages:
            await message.done("incomplete")
        await self.done("cancelled", reason=reason)

    async def failed(self, code: str = "server_error") -> None:
        """The response fails; no `error` event goes with it."""
        await self.done(
            "failed",
            error={
                "type": frames.ERROR_TYPES.get(code, frames.INVALID_REQUEST),
                "code": code,
                "message": frames.ERROR_MESSAGES.get(code, "Something went wrong."),
            },
        )


@attrs.define(kw_only=True, eq=False)
class MessageInPlay:
    """A message of the model's that the script is in the middle of."""

    response: ResponseInPlay
    id: str
    modality: Modality
    index: int
    previous_item_id: str | None
    said: str = ""
    audio_ms: int = 0

    async def _send(self, kind: str, **fields: Any) -> None:
        await self.response.peer.send(
            {
                "type": kind,
                "response_id": self.response.id,
                "item_id": self.id,
                "output_index": self.index,
                "content_index": 0,
                **fields,
            }
        )

    async def text(self, delta: str) -> None:
        """Some text of a written message."""
        self.said += delta
        await self._send("response.output_text.delta", delta=delta)

    async def transcript(self, delta: str) -> None:
        """Some of the words of a spoken message."""
        self.said += delta
        await self._send("response.output_audio_transcript.delta", delta=delta)

    async def audio(self, pcm: bytes) -> None:
        """Some of the sound of a spoken message."""
        self.audio_ms += len(pcm) // frames.BYTES_PER_MS
        await self._send("response.output_audio.delta", delta=base64.b64encode(pcm).decode())

    async def speak(self, transcript: str, *, ms: int = 300, pause: float = 0.0) -> None:
        """Words and sound, interleaved, `pause` seconds before each piece of sound."""
        words = frames.pieces(transcript)
        for start in range(0, ms, _CHUNK_MS):
            if words:
                await self.transcript(words.pop(0))
            if pause:
                await trio.sleep(pause)
            await self.audio(frames.tone(min(_CHUNK_MS, ms - start)))
        for delta in words:
            await self.transcript(delta)

    async def done(self, status: str = "completed") -> None:
        """The message ends: its streams, its part, its item."""
        if self.modality == "text":
            await self._send("response.output_text.done", text=self.said)
        else:
            await self._send("response.output_audio.done")
            await self._send("response.output_audio_transcript.done", transcript=self.said)
        await self._send("response.content_part.done", part=frames.part(self.modality, self.said))
        item = frames.assistant_item(self.id, status, [frames.content(self.modality, self.said)])
        await self.response._close_item(self.index, item, self.previous_item_id)
