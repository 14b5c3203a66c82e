"""What a server does in a conversation, whatever it speaks: the scripted peers in neutral words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..gemini_peer import GeminiPeer
    from ..openai_peer import OpenAIPeer
    from ..openai_response import MessageInPlay, ResponseInPlay

LONG = 200.0  # virtual seconds


class Scene(Protocol):
    """The server's part.  Each step expects what the client has to send for it."""

    async def typed(self, text: str) -> None:
        """The user has typed something and is to be answered."""
        ...

    async def told(self, text: str) -> None:
        """The user's words are to be kept, and not answered."""
        ...

    async def spoken(self, words: str) -> None:
        """The user speaks; the provider hears the end of it by itself."""
        ...

    async def committed(self, words: str) -> None:
        """The user speaks; the application tells the end of it."""
        ...

    async def answers(self, words: str, ms: int = 80) -> None:
        """The model says something, from beginning to end."""
        ...

    async def begins(self, words: str, ms: int = 200) -> None:
        """The model begins to say something."""
        ...

    async def is_interrupted(self) -> None:
        """The user speaks into what the model says, which stops."""
        ...

    async def is_stopped(self) -> bool:
        """The application has stopped the model; whether the provider was told."""
        ...

    async def calls(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        """The model calls tools, all at once; the ids."""
        ...

    async def outcomes(self, call_ids: Sequence[str]) -> tuple[dict[str, Any], bool]:
        """What the calls came to, by id, and whether the model was asked to go on."""
        ...

    async def changes(self) -> None:
        """Acknowledge a change of the configuration, if the protocol has that."""
        ...

    async def reports(self, message: str) -> None:
        """The provider reports an error that ends nothing."""
        ...

    async def remembers(self) -> None:
        """Tell how the session can be resumed, if the protocol has that."""
        ...

    async def goes_on(self, told: int) -> str:
        """Take the session on over another connection; the instruction that it comes with.

        `told` is how many messages it is told of, where it is not resumed.
        """
        ...

    async def drops(self) -> None:
        """The connection breaks."""
        ...

    async def is_left(self) -> None:
        """The client leaves in order."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """The provider ends the connection."""
        ...

    async def linger(self) -> None:
        """Say no more, and answer the close."""
        ...


class OpenAIScene:
    """OpenAI's server."""

    def __init__(self, peer: OpenAIPeer) -> None:
        self._peer = peer
        self._asked: Mapping[str, Any] | None = None  # the request that is to be answered
        self._response: ResponseInPlay | None = None
        self._message: MessageInPlay | None = None

    async def typed(self, text: str) -> None:
        """See `Scene`."""
        await self.told(text)
        self._asked = await self._peer.expect("response.create")

    async def told(self, text: str) -> None:
        """See `Scene`."""
        content = [{"type": "input_text", "text": text}]
        await self._peer.expect_item(type="message", role="user", content=content)

    async def spoken(self, words: str) -> None:
        """See `Scene`."""
        await self._peer.expect("input_audio_buffer.append")
        await self._peer.user_turn(words)
        self._asked = None

    async def committed(self, words: str) -> None:
        """See `Scene`."""
        await self._peer.expect("input_audio_buffer.append")
        await self._peer.expect("input_audio_buffer.commit")
        item_id = await self._peer.committed()
        self._asked = await self._peer.expect("response.create")
        await self._peer.transcribed(item_id, words)

    async def answers(self, words: str, ms: int = 80) -> None:
        """See `Scene`."""
        await self._peer.audio_response(words, create=self._asked, ms=ms)
        self._asked = None

    async def begins(self, words: str, ms: int = 200) -> None:
        """See `Scene`."""
        self._response = await self._peer.response(self._asked)
        self._message = await self._response.message("audio")
        await self._message.speak(words, ms=ms)

    async def is_interrupted(self) -> None:
        """See `Scene`."""
        assert self._response is not None
        assert self._message is not None
        await self._peer.speech_started()
        await self._response.cancelled(self._message, reason="turn_detected")
        await self._peer.item_truncated(await self._peer.expect("conversation.item.truncate"))

    async def is_stopped(self) -> bool:
        """See `Scene`."""
        assert self._response is not None
        assert self._message is not None
        await self._peer.expect("response.cancel")
        await self._response.cancelled(self._message)
        return True

    async def calls(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        """See `Scene`."""
        called = await self._peer.tool_call_response(*calls, create=self._asked)
        self._asked = None
        return called

    async def outcomes(self, call_ids: Sequence[str]) -> tuple[dict[str, Any], bool]:
        """See `Scene`."""
        outputs = {}
        for _ in call_ids:
            create = await self._peer.expect_item(type="function_call_output")
            outputs[create["item"]["call_id"]] = create["item"]["output"]
        self._asked = await self._peer.expect("response.create")
        return outputs, True

    async def changes(self) -> None:
        """See `Scene`."""
        await self._peer.session_updated(await self._peer.expect("session.update"))

    async def remembers(self) -> None:
        """See `Scene`: nothing is told."""

    async def goes_on(self, told: int) -> str:
        """See `Scene`."""
        await self._peer.welcome_back(told)
        return str(self._peer.session["instructions"])

    async def drops(self) -> None:
        """See `Scene`."""
        await self._peer.reset()

    async def is_left(self) -> None:
        """See `Scene`."""
        await self._peer.expect_close(within=LONG)

    async def reports(self, message: str) -> None:
        """See `Scene`."""
        await self._peer.error("server_error", message=message, kind="server_error")

    async def close(self, code: int, reason: str) -> None:
        """See `Scene`."""
        await self._peer.close(code, reason)

    async def linger(self) -> None:
        """See `Scene`."""
        await self._peer.linger()


class GeminiScene:
    """Gemini's server."""

    def __init__(self, peer: GeminiPeer) -> None:
        self._peer = peer

    async def typed(self, text: str) -> None:
        """See `Scene`."""
        await self._peer.expect_turn(text)

    async def told(self, text: str) -> None:
        """See `Scene`."""
        turns = [{"role": "user", "parts": [{"text": text}]}]
        content = {"turns": turns, "turnComplete": False}
        await self._peer.expect("clientContent", clientContent=content)

    async def spoken(self, words: str) -> None:
        """See `Scene`."""
        await self._peer.receive()
        await self._peer.heard(words)

    async def committed(self, words: str) -> None:
        """See `Scene`."""
        await self._peer.expect_activity()
        await self._peer.heard(words)

    async def answers(self, words: str, ms: int = 80) -> None:
        """See `Scene`."""
        await self._peer.audio_response(words, ms=ms)

    async def begins(self, words: str, ms: int = 200) -> None:
        """See `Scene`."""
        await self._peer.speak(words, ms=ms)

    async def is_interrupted(self) -> None:
        """See `Scene`."""
        await self._peer.interrupted()

    async def is_stopped(self) -> bool:
        """See `Scene`."""
        if self._peer.frames("realtimeInput.activityStart"):
            await self._peer.expect("realtimeInput.activityStart")
            await self._peer.interrupted()
            return True
        # Nobody has told it: it goes on, and what it says is dropped.
        await self._peer.speak("and so on", ms=100)
        await self._peer.generation_complete()
        await self._peer.turn_complete()
        return False

    async def calls(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        """See `Scene`."""
        return await self._peer.tool_call(*calls)

    async def outcomes(self, call_ids: Sequence[str]) -> tuple[dict[str, Any], bool]:
        """See `Scene`."""
        answers = await self._peer.expect_tool_response(*call_ids)
        return {call_id: str(answer["response"]) for call_id, answer in answers.items()}, False

    async def changes(self) -> None:
        """See `Scene`: no change of a live session is acknowledged."""

    async def remembers(self) -> None:
        """See `Scene`."""
        await self._peer.resumable("handle")

    async def goes_on(self, told: int) -> str:
        """See `Scene`: it is resumed, and told of nothing."""
        setup = await self._peer.welcome(sessionResumption={"handle": "handle"})
        parts = setup.get("systemInstruction", {}).get("parts", ())
        return "".join(part["text"] for part in parts)

    async def drops(self) -> None:
        """See `Scene`."""
        await self._peer.reset()

    async def is_left(self) -> None:
        """See `Scene`."""
        await self._peer.expect_close(within=LONG)

    async def reports(self, message: str) -> None:
        """See `Scene`."""
        await self._peer.send({"error": {"code": 500, "status": "INTERNAL", "message": message}})

    async def close(self, code: int, reason: str) -> None:
        """See `Scene`."""
        await self._peer.close(code, reason)

    async def linger(self) -> None:
        """See `Scene`."""
        await self._peer.linger()
