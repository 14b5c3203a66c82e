"""The servers of a long call: each gives the model the wire of one connection."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ..gemini_peer import GeminiPeer
from ..openai_peer import OpenAIPeer
from ..websocket_peer import ClientGone
from .mind import Entry, Mind

if TYPE_CHECKING:
    import random

    from ..wires import Wire

FRAME = 480  # bytes; the first four are its number
SILENCE = 0.4  # seconds without a frame, and the user's turn is over
WORD_EVERY = 0.1  # seconds
WORD_MS = 60  # of audio
GOING_AWAY = 540.0  # seconds into a connection of Gemini's, which ends a minute later


class World:
    """What the servers of one call share, and what takes their connections away."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.servers: list[Server] = []
        self.shelf: dict[str, list[Entry]] = {}
        self.speaking = False
        self.answering = False
        self.looking_up = False
        self.drops: Counter[str] = Counter()

    async def disturb(self, every: float) -> None:
        """Drop the connection once in each `every` seconds, mostly during a lookup."""
        while True:
            begun = trio.current_time()
            await trio.sleep(self.rng.uniform(0.05, 0.6) * every)
            moment = self.rng.choices(
                ("looking_up", "speaking", "answering", "whenever"), (6, 2, 2, 1)
            )[0]
            with trio.move_on_after(0.3 * every):
                while moment != "whenever" and not getattr(self, moment):  # noqa: ASYNC110
                    await trio.sleep(0.1)
                await trio.sleep(self.rng.uniform(0.0, 0.5))
            was = moment if moment == "whenever" or getattr(self, moment) else "whenever"
            self.drops[was] += 1
            self.servers[-1].wire.reset()
            await trio.sleep_until(begun + every)


class Server:
    """One connection's server: hears, and speaks what its mind says."""

    def __init__(self, world: World, wire: Wire) -> None:
        self.world = world
        self.wire = wire
        self.mind = Mind()
        self.frames: list[int] = []  # of the user's present turn
        self.last_frame = 0.0
        self.answering = False
        self._wake = trio.Event()

    async def run(self) -> None:
        """Serve until the client has gone."""
        async with trio.open_nursery() as nursery:
            peer = self.peer
            nursery.start_soon(peer.socket.run, name="peer reader")
            try:
                await self.greet()
                nursery.start_soon(self._think, name="peer mind")
                nursery.start_soon(self.age, name="peer age")
                while True:
                    await self.hear(await peer.receive(within=100_000))
            except ClientGone:
                pass
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(peer.socket.stream)

    peer: Any

    async def greet(self) -> None:
        """The handshake."""
        raise NotImplementedError

    async def hear(self, frame: dict[str, Any]) -> None:
        """One frame of the client's."""
        raise NotImplementedError

    async def commit(self, words: str) -> None:
        """The user's turn is over."""
        raise NotImplementedError

    async def say(self, words: list[str]) -> None:
        """Speak."""
        raise NotImplementedError

    async def call(self, turn: int) -> None:
        """Look something up."""
        raise NotImplementedError

    async def age(self) -> None:
        """What age does to the connection."""

    def heard(self, data: str) -> None:
        """Audio, as base64."""
        audio = base64.b64decode(data)
        for start in range(0, len(audio), FRAME):
            self.frames.append(int.from_bytes(audio[start : start + 4], "little"))
        self.last_frame = trio.current_time()
        self.world.speaking = True
        self.wake()

    def wake(self) -> None:
        """Something has happened that the mind may act on."""
        self._wake.set()
        self._wake = trio.Event()

    asked = False  # for an answer, explicitly

    async def _think(self) -> None:
        with contextlib.suppress(ClientGone):
            while True:
                if self.frames:
                    await trio.sleep_until(self.last_frame + SILENCE)
                    if trio.current_time() < self.last_frame + SILENCE:
                        continue
                    frames, self.frames = self.frames, []
                    self.world.speaking = False
                    words = " ".join(map(str, frames))
                    self.mind.known.append(Entry("user", words))
                    await self.commit(words)
                    await self._respond()
                elif self.asked:
                    self.asked = False
                    await self._respond()
                else:
                    await self._wake.wait()

    async def _respond(self) -> None:
        kind, what = self.mind.next()
        if kind == "call":
            await self.call(what)
        elif kind == "say":
            self.world.answering = True
            await self.say(what)
            self.world.answering = False
        else:
            self.mind.puzzles.append(f"asked to answer while it waits for {what}")


class OpenAIServer(Server):
    """Speaks OpenAI's protocol."""

    def __init__(self, world: World, wire: Wire, tag: str) -> None:
        super().__init__(world, wire)
        self.peer = OpenAIPeer(wire.server, skipped=frozenset())
        self.peer.tag = tag
        self.create: Any = None
        self.ms = 0

    async def greet(self) -> None:
        """The handshake."""
        await self.peer.welcome()

    async def hear(self, frame: dict[str, Any]) -> None:
        """One frame of the client's."""
        match frame["type"]:
            case "input_audio_buffer.append":
                if not self.frames:
                    self.item = await self.peer.speech_started(self.ms)
                self.heard(frame["audio"])
                self.ms += 10
            case "conversation.item.create":
                self.told(frame["item"])
                await self.peer.item_created(frame)
            case "response.create":
                self.create, self.asked = frame, True
                self.wake()
            case "response.cancel" | "conversation.item.truncate" | "conversation.item.delete":
                self.mind.puzzles.append(f"nobody interrupts, and there came {frame['type']}")
            case _:
                pass

    def told(self, item: dict[str, Any]) -> None:
        """An item of the client's."""
        mind = self.mind
        match item["type"]:
            case "function_call":
                turn = json.loads(item["arguments"])["turn"]
                mind.known.append(Entry("call", str(turn), item["call_id"]))
            case "function_call_output":
                calls = {each.call_id for each in mind.known if each.kind == "call"}
                if item["call_id"] not in calls:
                    mind.puzzles.append(f"an outcome of a foreign call {item['call_id']}")
                if "No result" not in item["output"]:
                    mind.known.append(Entry("output", item["output"], item["call_id"]))
                self.world.looking_up = False
            case _:
                text = "".join(part["text"] for part in item["content"])
                mind.known.append(Entry(item["role"], text))

    async def commit(self, words: str) -> None:
        """The user's turn is over."""
        self.peer.audio_ms = self.ms
        await self.peer.speech_stopped(self.item, after_ms=0)
        await self.peer.committed(self.item)
        await self.peer.transcribed(self.item, words, deltas=False)

    async def say(self, words: list[str]) -> None:
        """Speak."""
        create, self.create = self.create, None
        response = await self.peer.response(create)
        message = await response.message("audio")
        said = Entry("assistant", "")
        self.mind.known.append(said)
        for word in words:
            await trio.sleep(WORD_EVERY)
            await message.speak(f"{word} ", ms=WORD_MS)
            said.text += f"{word} "
        await message.done()
        await response.done()

    async def call(self, turn: int) -> None:
        """Look something up."""
        create, self.create = self.create, None
        response = await self.peer.response(create)
        call_id = await response.call("lookup", {"turn": turn})
        self.mind.known.append(Entry("call", str(turn), call_id))
        await response.done()
        self.world.looking_up = True


_TOLD_CALL = re.compile(r"\[tool lookup\((.*?)\)\]\n(.*)", re.DOTALL)
_TOLD_RESULT = re.compile(r"\[tool result\]\nlookup gave: (.*)", re.DOTALL)


class GeminiServer(Server):
    """Speaks Gemini's; sessions are kept by handle, as of the end of a turn or of a call."""

    def __init__(self, world: World, wire: Wire, tag: str) -> None:
        super().__init__(world, wire)
        self.peer = GeminiPeer(wire.server, skipped=frozenset())
        self.peer.tag = tag
        self.transparent = False
        self.messages = 0  # of the client's, after the setup

    async def greet(self) -> None:
        """The handshake."""
        setup = await self.peer.welcome()
        resumption = setup.get("sessionResumption") or {}
        handle, self.transparent = resumption.get("handle"), bool(resumption.get("transparent"))
        if handle is not None:
            self.mind.known = [attrs.evolve(each) for each in self.world.shelf[handle]]
        else:
            self.world.shelf.clear()

    async def age(self) -> None:
        """The connection ends after ten minutes, and says so a minute before."""
        with contextlib.suppress(ClientGone):
            await trio.sleep(GOING_AWAY)
            await self.peer.go_away(60)
            await trio.sleep(60)
            await self.peer.close(1001, "too old")

    async def keep(self) -> None:
        """The session can be resumed from here."""
        handle = f"h{len(self.world.shelf)}.{self.peer.tag}"
        self.world.shelf[handle] = [attrs.evolve(each) for each in self.mind.known]
        consumed = self.messages - len(self.frames)
        await self.peer.resumable(handle, last_consumed=consumed if self.transparent else None)

    async def hear(self, frame: dict[str, Any]) -> None:
        """One message of the client's."""
        self.messages += 1
        if "realtimeInput" in frame:
            self.heard(frame["realtimeInput"]["audio"]["data"])
        elif "toolResponse" in frame:
            for answer in frame["toolResponse"]["functionResponses"]:
                open_calls = {each.call_id for each in self.mind.known if each.kind == "call"}
                if answer["id"] not in open_calls:
                    self.mind.puzzles.append(f"an outcome of a foreign call {answer['id']}")
                self.mind.known.append(
                    Entry("output", str(answer["response"].get("output", "an error")), answer["id"])
                )
            self.world.looking_up = False
            self.asked = True
            self.wake()
        elif "clientContent" in frame:
            for content in frame["clientContent"].get("turns", ()):
                for part in content["parts"]:
                    self.told(content["role"], part["text"])
            if frame["clientContent"].get("turnComplete") and not frame["clientContent"].get(
                "turns"
            ):
                self.asked = True
                self.wake()

    def told(self, role: str, text: str) -> None:
        """Something that was said before, or instead."""
        if (call := _TOLD_CALL.fullmatch(text)) is not None:
            self.mind.known.append(Entry("call", str(json.loads(call[1])["turn"])))
            if call[2] != "(never answered)":
                self.mind.known.append(Entry("output", call[2]))
        elif (result := _TOLD_RESULT.fullmatch(text)) is not None:
            turn = result[1].removeprefix("found").split(".")[0]
            self.mind.known.append(Entry("call", turn))
            self.mind.known.append(Entry("output", result[1]))
            self.world.looking_up = False
        else:
            self.mind.known.append(Entry("user" if role == "user" else "assistant", text))

    async def commit(self, words: str) -> None:
        """The user's turn is over."""
        await self.peer.content(inputTranscription={"text": words, "finished": True})

    async def say(self, words: list[str]) -> None:
        """Speak."""
        said = Entry("assistant", "")
        self.mind.known.append(said)
        for word in words:
            await trio.sleep(WORD_EVERY)
            await self.peer.audio(WORD_MS)
            await self.peer.content(outputTranscription={"text": f"{word} "})
            said.text += f"{word} "
        await self.peer.generation_complete()
        await self.peer.turn_complete()
        await self.keep()

    async def call(self, turn: int) -> None:
        """Look something up."""
        (call_id,) = await self.peer.tool_call(("lookup", {"turn": turn}))
        self.mind.known.append(Entry("call", str(turn), call_id))
        self.world.looking_up = True
        if self.world.rng.random() < 0.5:
            await self.keep()
