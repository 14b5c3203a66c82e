"""The Gemini endpoint behind a connection: who is let in, deadlines, one server for both sides."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from support.embedded_client import connect, options
from support.gemini_engine import TEXT, typed, wrote
from support.gemini_oracle import check
from trio_websocket import ConnectionClosed, wrap_client_stream

from meerkat_rt.embedded import EmbeddedServer, Say, ServerLimits, serve_embedded
from meerkat_rt.embedded.gemini import GeminiEngine

AI_STUDIO = "/ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent"
VERTEX = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
PATH = AI_STUDIO.format("v1beta")
SETUP = {"setup": {"model": "models/gemini-test", "generationConfig": TEXT}}


class Client:
    """One connection.  Every message is held against the oracle."""

    def __init__(self, ws) -> None:
        self.ws = ws
        self.seen: list[dict] = []

    async def send(self, *messages: dict) -> None:
        for message in messages:
            check(message, "client")
            await self.ws.send_message(json.dumps(message))

    async def next(self) -> dict:
        frame = await self.ws.get_message()
        assert isinstance(frame, bytes), "the service sends binary frames"
        message = json.loads(frame)
        check(message, "server")
        self.seen.append(message)
        return message

    async def until(self, key: str) -> dict:
        """Read up to the first message with that key, or with that server content."""
        while True:
            message = await self.next()
            if key in message or key in message.get("serverContent", {}):
                return message

    async def closed(self) -> tuple[int, str]:
        """Read to the end; code and reason of the close frame."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.reason.code, closed.reason.reason or ""


def serve(nursery, *, pair=trio.testing.memory_stream_pair, **changes):
    """A server on one side of a pair of streams; the other side, and when it is done."""
    ours, theirs = pair()
    server = EmbeddedServer(options(**changes), seed="s")
    done = trio.Event()

    async def run():
        await server.handle_stream(theirs)
        done.set()

    nursery.start_soon(run)
    return ours, done


async def over(nursery, stream, path: str = PATH, headers=()) -> Client:
    return Client(
        await wrap_client_stream(nursery, stream, "test", path, extra_headers=list(headers))
    )


@pytest.mark.parametrize(
    "path",
    [
        AI_STUDIO.format("v1beta"),
        AI_STUDIO.format("v1alpha"),
        AI_STUDIO.format("v1alpha") + "Constrained",
    ],
)
async def test_a_session_at_every_address(autojump_clock, path):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over(nursery, stream, path)
        await client.send(SETUP, typed("What is 6 times 7?"))
        await client.until("turnComplete")
        assert wrote(client.seen) == "That makes 42."
        await client.ws.aclose()
        await done.wait()


async def test_vertex_has_an_address_of_its_own(autojump_clock):
    model = "projects/p/locations/global/publishers/google/models/gemini-test"
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over(nursery, stream, VERTEX)
        await client.send({"setup": {**SETUP["setup"], "model": model}}, typed("hello"))
        last = await client.until("turnComplete")
        assert "candidatesTokenCount" in last["usageMetadata"]
        await client.ws.aclose()
        await done.wait()


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("", [(b"x-goog-api-key", b"s3cret")], None),
        ("?key=s3cret", [], None),
        ("?access_token=s3cret", [], None),
        ("", [(b"authorization", b"Token s3cret")], None),
        ("", [(b"authorization", b"Bearer s3cret")], None),
        ("", [(b"x-goog-api-key", b"other")], (1007, "API key not valid")),
        ("", [], (1008, "unregistered callers")),
    ],
)
async def test_who_is_let_in(autojump_clock, query, headers, expected):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, token="s3cret")
        client = await over(nursery, stream, PATH + query, headers)
        await client.send(SETUP)
        if expected is None:
            await client.until("setupComplete")
            await client.ws.aclose()
        else:
            code, reason = await client.closed()
            assert code == expected[0]
            assert expected[1] in reason
        await done.wait()


async def test_a_server_that_is_full_says_that_its_quota_is_spent():
    limits = ServerLimits(max_connections=1, close_seconds=0.5)
    with trio.fail_after(10):
        async with (
            serve_embedded(options(limits=limits)) as server,
            connect(server.url + "?model=m"),
            connect(server.gemini_url + PATH) as second,
        ):
            client = Client(second.ws)
            await client.send(SETUP)
            code, reason = await client.closed()
            assert (code, "exhausted" in reason) == (1011, True)


async def test_one_server_has_both_protocols():
    with trio.fail_after(10):
        async with (
            serve_embedded(options()) as server,
            connect(server.url + "?model=m") as realtime,
            connect(server.gemini_url + PATH) as live,
        ):
            assert (await realtime.next())["type"] == "session.created"
            client = Client(live.ws)
            await client.send(SETUP, typed("hello"))
            await client.until("turnComplete")
            assert wrote(client.seen).startswith("Hello")
            assert server.connections == 2


# ---------------------------------------------------------------- deadlines


async def test_a_client_that_sets_nothing_up_is_closed(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over(nursery, stream)
        assert await client.closed() == (1011, "Deadline expired before operation could complete.")
        assert trio.current_time() == pytest.approx(10)
        await done.wait()


async def test_a_connection_is_aborted_ten_minutes_old_with_a_minutes_warning(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over(nursery, stream)
        await client.send(SETUP)
        assert (await client.until("goAway"))["goAway"] == {"timeLeft": "60s"}
        assert trio.current_time() == pytest.approx(540)
        await client.send(typed("hello"))
        await client.until("turnComplete")
        assert await client.closed() == (1008, "The operation was aborted.")
        assert trio.current_time() == pytest.approx(600)
        await done.wait()


async def test_a_session_can_be_resumed_as_soon_as_its_connection_is_gone(autojump_clock):
    class Counting:
        def reply(self, request):
            return [Say(f"{len(request.history)} entries")]

    resumable = {"setup": {**SETUP["setup"], "sessionResumption": {}}}
    server = EmbeddedServer(options(brain=Counting()), seed="s")

    async with trio.open_nursery() as nursery:

        async def connected():
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.handle_stream, theirs)
            return ours, await over(nursery, ours)

        stream, first = await connected()
        await first.send(resumable, typed("one"))
        await first.until("turnComplete")
        handle = (await first.until("sessionResumptionUpdate"))["sessionResumptionUpdate"]
        again = {"setup": {**SETUP["setup"], "sessionResumption": {"handle": handle["newHandle"]}}}

        _, early = await connected()
        await early.send(again)
        assert (await early.closed())[0] == 1011

        await trio.aclose_forcefully(stream)  # dropped, not closed
        await trio.testing.wait_all_tasks_blocked()
        _, second = await connected()
        await second.send(again, typed("two"))
        await second.until("turnComplete")
        assert wrote(second.seen) == "3 entries"
        nursery.cancel_scope.cancel()


async def test_a_brain_that_takes_too_long_ends_its_turn_only(autojump_clock):
    class Slow:
        async def reply(self, request):
            if len(request.history) == 1:
                await trio.sleep(1000)
            return [Say("at last")]

    async with trio.open_nursery() as nursery:
        stream, _ = serve(nursery, brain=Slow())
        client = await over(nursery, stream)
        await client.send(SETUP, typed("hello"))
        last = await client.until("turnComplete")
        assert last["serverContent"]["turnCompleteReason"] == "RESPONSE_REJECTED"
        assert trio.current_time() == pytest.approx(60)
        await client.send(typed("hello again"))
        await client.until("turnComplete")
        assert wrote(client.seen) == "at last"
        nursery.cancel_scope.cancel()


async def test_a_bug_of_ours_closes_one_connection(autojump_clock, caplog, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(GeminiEngine, "_respond", broken)
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over(nursery, stream)
        await client.send(SETUP, typed("hello"))
        assert await client.closed() == (1011, "Internal error encountered.")
        await done.wait()
    assert "the embedded server failed" in caplog.text


@pytest.mark.parametrize(("pace", "playback"), [(4, 1), (4, 4), (1, 1), (None, 1), (4, None)])
async def test_a_turn_is_over_when_it_has_been_played(autojump_clock, pace, playback):
    setup = {"model": "models/gemini-test", "outputAudioTranscription": {}}
    async with trio.open_nursery() as nursery:
        stream, _ = serve(nursery, pace=pace, playback=playback)
        client = await over(nursery, stream)
        await client.send({"setup": setup}, typed("tell me a story"))
        await client.until("modelTurn")
        began = trio.current_time()
        await client.until("generationComplete")
        generated = trio.current_time() - began
        await client.until("turnComplete")
        played = trio.current_time() - began
        data = [
            part["inlineData"]["data"]
            for message in client.seen
            for part in message.get("serverContent", {}).get("modelTurn", {}).get("parts", ())
        ]
        seconds = sum(len(each) * 3 / 4 for each in data) / 48_000
        assert seconds > 20
        assert generated == pytest.approx(seconds / pace if pace else 0, abs=0.3)
        expected = seconds / playback if pace and playback else generated
        assert played == pytest.approx(max(expected, generated), abs=0.5)
        nursery.cancel_scope.cancel()
