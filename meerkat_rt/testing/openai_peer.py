"""A scripted OpenAI Realtime (GA) server: its events, in the order they were captured in.

Single events are there to be sent in any order a test wants; `text_response`, `audio_response`,
`tool_call_response` and `user_turn` send the whole of a captured sequence.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import openai_frames as frames
from .openai_response import ResponseInPlay
from .scripted_peer import PATIENCE, ScriptedPeer, played

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    import trio

    from .openai_frames import Json

SKIPPED = frozenset(
    {"input_audio_buffer.append"}
)  # a microphone never stops: expect passes over it


class OpenAIPeer(ScriptedPeer):
    """The server's half of one OpenAI Realtime connection, for a script to drive.

    It keeps what a server keeps: the effective `session` configuration, the last item of the
    conversation, and counters for ids, so that the same script always sends the same bytes.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        patience: float = PATIENCE,
        skipped: frozenset[str] = SKIPPED,
    ) -> None:
        super().__init__(stream, patience=patience, skipped=skipped)
        self.session = frames.default_session()
        self.last_item_id: str | None = None
        self.audio_ms = 0  # length of the input so far, by the speech events sent
        self.tag = ""  # in every id, where one test has several connections
        self._counts: dict[str, int] = {}

    def new_id(self, kind: str) -> str:
        """The next id of a kind: ``item_1``, ``item_2``, ..."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind}_{self.tag}{self._counts[kind]}"

    def prepare(self, frame: Json) -> Json:
        """Give the event an id of its own, unless it has one."""
        if "event_id" not in frame:
            frame["event_id"] = self.new_id("event")
        return frame

    # -- the session ----------------------------------------------

    async def session_created(self) -> None:
        """`session.created`, the first event of a connection."""
        await self.send({"type": "session.created", "session": self.session})

    async def session_updated(self, update: Mapping[str, Any]) -> None:
        """Apply a `session.update` event and answer with the whole effective configuration."""
        self.session = frames.merged(self.session, update["session"])
        await self.send({"type": "session.updated", "session": self.session})

    async def welcome(self, **session: Any) -> Json:
        """Accept, announce the session, and take the client's first `session.update`.

        `session` is what the update must hold.  Returns the update.
        """
        await self.accept()
        await self.session_created()
        update = await self.expect("session.update", **({"session": session} if session else {}))
        await self.session_updated(update)
        return update

    async def welcome_back(self, seeds: int | None = None, *, tag: str = "b") -> list[Json]:
        """`welcome`, for a session that goes on: take the items that it is told of.

        `seeds` is how many there must be (None: all up to a frame that is none, which must come).
        Returns them.  `tag` goes into all ids, as no two sessions of a server's share one.
        """
        self.tag = tag
        await self.welcome()
        items: list[Json] = []
        while len(items) != seeds:
            if seeds is None:
                item = (await self.upcoming()).get("item") or {}
                if not str(item.get("id", "")).startswith("mk_seed_"):
                    break
            create = await self.expect("conversation.item.create")
            items.append(create["item"])
            await self.item_created(create)
        return items

    # -- the conversation -----------------------------------------

    async def item_added(self, item: Json) -> None:
        """`conversation.item.added`: the item is the last of the conversation now."""
        await self.send(
            {
                "type": "conversation.item.added",
                "previous_item_id": self.last_item_id,
                "item": item,
            }
        )
        self.last_item_id = item["id"]

    async def item_done(self, item: Json, previous_item_id: str | None) -> None:
        """`conversation.item.done`: the item is final."""
        await self.send(
            {
                "type": "conversation.item.done",
                "previous_item_id": previous_item_id,
                "item": item,
            }
        )

    async def item_created(self, create: Mapping[str, Any]) -> str:
        """Answer a `conversation.item.create` as a server does.

        Returns the item's id: the client's, or a new one.
        """
        item = {"id": self.new_id("item"), "status": "completed", **create["item"]}
        previous = self.last_item_id
        await self.item_added(item)
        await self.item_done(item, previous)
        return str(item["id"])

    async def expect_item(self, **item: Any) -> Json:
        """Expect a `conversation.item.create` with at least this item, and acknowledge it."""
        create = await self.expect("conversation.item.create", item=item)
        await self.item_created(create)
        return create

    async def expect_tool_output(self, call_id: str) -> Any:
        """Expect the output of a call, acknowledge it, and return it decoded, if it is JSON."""
        create = await self.expect_item(type="function_call_output", call_id=call_id)
        output = create["item"]["output"]
        try:
            return json.loads(output)
        except ValueError:
            return output

    async def item_truncated(self, truncate: Mapping[str, Any]) -> None:
        """Acknowledge a `conversation.item.truncate`."""
        keys = ("item_id", "content_index", "audio_end_ms")
        await self.send(
            {"type": "conversation.item.truncated", **{key: truncate[key] for key in keys}}
        )

    async def item_deleted(self, delete: Mapping[str, Any]) -> None:
        """Acknowledge a `conversation.item.delete`."""
        await self.send({"type": "conversation.item.deleted", "item_id": delete["item_id"]})

    # -- the user speaks ------------------------------------------

    async def speech_started(self, audio_start_ms: int | None = None) -> str:
        """The server hears the user.  Returns the id of the item that the speech will become."""
        item_id = self.new_id("item")
        start = self.audio_ms if audio_start_ms is None else audio_start_ms
        self.audio_ms = max(self.audio_ms, start)
        await self.send(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": start,
                "item_id": item_id,
            }
        )
        return item_id

    async def speech_stopped(self, item_id: str, *, after_ms: int = 500) -> None:
        """The user has been silent for long enough."""
        self.audio_ms += after_ms
        await self.send(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": self.audio_ms,
                "item_id": item_id,
            }
        )

    async def committed(self, item_id: str | None = None) -> str:
        """The input becomes an item: `committed`, `item.added`, `item.done`.  Returns its id."""
        item_id = item_id or self.new_id("item")
        previous = self.last_item_id
        await self.send(
            {
                "type": "input_audio_buffer.committed",
                "previous_item_id": previous,
                "item_id": item_id,
            }
        )
        item = frames.user_audio_item(item_id)
        await self.item_added(item)
        await self.item_done(item, previous)
        return item_id

    async def transcribed(self, item_id: str, transcript: str, *, deltas: bool = True) -> None:
        """The user's words, piece by piece, then whole.  At any time after the commit."""
        kind = "conversation.item.input_audio_transcription"
        where = {"item_id": item_id, "content_index": 0}
        for delta in frames.pieces(transcript) if deltas else ():
            await self.send({"type": f"{kind}.delta", **where, "delta": delta})
        await self.send(
            {
                "type": f"{kind}.completed",
                **where,
                "transcript": transcript,
                "usage": {"type": "duration", "seconds": 0.5},
            }
        )

    async def transcription_failed(self, item_id: str) -> None:
        """The user's words could not be made out."""
        await self.send(
            {
                "type": "conversation.item.input_audio_transcription.failed",
                "item_id": item_id,
                "content_index": 0,
                "error": {
                    "type": "transcription_error",
                    "code": "audio_unintelligible",
                    "message": "The audio could not be transcribed.",
                    "param": None,
                },
            }
        )

    async def user_turn(self, transcript: str | None = None, *, ms: int = 500) -> str:
        """The whole of what the server says when the user has spoken.  Returns the item's id."""
        item_id = await self.speech_started()
        await self.speech_stopped(item_id, after_ms=ms)
        await self.committed(item_id)
        if transcript is not None:
            await self.transcribed(item_id, transcript)
        return item_id

    # -- the model answers ----------------------------------------

    async def response(self, create: Mapping[str, Any] | None = None) -> ResponseInPlay:
        """`response.created`; the rest is for the script to play on what this returns.

        `create` is the client's `response.create`, if one caused it: its modality, metadata and
        conversation carry over.
        """
        asked = dict((create or {}).get("response") or {})
        modalities = asked.get("output_modalities") or self.session["output_modalities"]
        response = ResponseInPlay(
            peer=self,
            id=self.new_id("resp"),
            modality=modalities[0],
            in_conversation=asked.get("conversation") != "none",
            metadata=asked.get("metadata"),
        )
        await self.send({"type": "response.created", "response": response.value("in_progress")})
        return response

    async def text_response(self, text: str, create: Mapping[str, Any] | None = None) -> str:
        """A whole response of written text.  Returns its id."""
        response = await self.response(create)
        message = await response.message("text")
        for delta in frames.pieces(text):
            await message.text(delta)
        await message.done()
        await response.done()
        return response.id

    async def audio_response(
        self,
        transcript: str,
        create: Mapping[str, Any] | None = None,
        *,
        ms: int = 300,
        pause: float = 0.0,
    ) -> str:
        """A spoken response of `ms` of audio, `pause` seconds before each piece; its id."""
        response = await self.response(create)
        message = await response.message("audio")
        await message.speak(transcript, ms=ms, pause=pause)
        await message.done()
        await response.done()
        return response.id

    async def tool_call_response(
        self,
        *calls: tuple[str, Mapping[str, Any] | str],
        create: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """A response that calls functions: pairs of a name and arguments (an object, or text).

        Returns the call ids.
        """
        response = await self.response(create)
        call_ids = [await response.call(name, arguments) for name, arguments in calls]
        await response.done()
        return call_ids

    async def rate_limits(self) -> None:
        """`rate_limits.updated`, which follows `response.done`."""
        await self.send({"type": "rate_limits.updated", "rate_limits": frames.RATE_LIMITS})

    # -- errors and ends ------------------------------------------

    async def error(
        self,
        code: str | None,
        *,
        to: Mapping[str, Any] | None = None,
        message: str | None = None,
        param: str | None = None,
        kind: str | None = None,
    ) -> None:
        """An `error` event; `to` is the client's event that it answers."""
        event_id = (to or {}).get("event_id")
        await self.send(
            frames.error(code, message=message, param=param, event_id=event_id, kind=kind)
        )

    async def fail(self, code: str) -> None:
        """An error that ends the session, and the close frame that follows it in the captures.

        `code` is one of `openai_frames.FATAL_CODES`.
        """
        await self.error(code)
        await self.socket.close(*frames.FATAL_CODES[code])

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection in order."""
        await self.socket.close(code, reason)

    async def cut_frame(self, frame: Mapping[str, Any] | None = None) -> None:
        """Reset the connection in the middle of a frame."""
        frame = self.prepare(dict(frame or {"type": "rate_limits.updated", "rate_limits": []}))
        await self.socket.cut_frame(json.dumps(frame))


def openai_peer(
    stream: trio.abc.Stream,
    script: Callable[[OpenAIPeer], Awaitable[object]],
    *,
    patience: float = PATIENCE,
    client_may_leave: bool | Callable[[], bool] = False,
) -> AbstractAsyncContextManager[OpenAIPeer]:
    """Play `script` as the server at the other end of a stream, beside the block.

    ``async with openai_peer(wire.server, script) as peer:``; see `scripted_peer.played` for how it
    ends and what it raises.
    """
    peer = OpenAIPeer(stream, patience=patience)
    return played(peer, script, client_may_leave=client_may_leave)
