"""The server on real loopback sockets: admission, whole turns, limits, and that nothing is left."""

from __future__ import annotations

import base64
import math
import socket

import pytest
import trio
import trio.lowlevel
from support.embedded_client import connect, options
from support.embedded_session import (
    appends,
    function_tool,
    only,
    session_update,
    spoken_turn,
    typed,
)

from meerkat_rt.embedded import (
    AccessPolicy,
    DefaultBrain,
    EmbeddedProvider,
    EmbeddedServer,
    Quirks,
    RecognitionFailed,
    Say,
    ServerLimits,
    ServerOptions,
    serve_embedded,
)
from meerkat_rt.model.errors import InvalidConfig

CREATE = {"type": "response.create"}
UPGRADE = (
    b"GET PATH HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def raw_exchange(server, data: bytes) -> bytes:
    """What a server answers to raw bytes until it closes."""
    host, _, port = server.authority.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(data) if data else await stream.send_eof()
        with trio.fail_after(5):
            return b"".join([chunk async for chunk in stream])


async def all_gone(server) -> None:
    """Wait until the server has no connection left."""
    with trio.fail_after(5):
        while server.connections:  # noqa: ASYNC110 - there is no event for this in the server
            await trio.sleep(0.01)


async def refused(server, query="?model=m", *, headers=(), subprotocols=()) -> tuple:
    """The error of a connection that is closed at once, and its close frame."""
    async with connect(server.url + query, headers=headers, subprotocols=subprotocols) as client:
        error = await client.next()
        assert error["type"] == "error"
        return error["error"]["code"], *await client.closed()


async def greeted(server, query="?model=m", *, headers=(), subprotocols=()) -> dict:
    async with connect(server.url + query, headers=headers, subprotocols=subprotocols) as client:
        return await client.next()


async def test_the_bound_address_is_reported():
    async with serve_embedded(options()) as server:
        port = int(server.authority.rpartition(":")[2])
        assert server.url == f"ws://127.0.0.1:{port}/v1/realtime"
        assert port > 0
        assert (await greeted(server))["type"] == "session.created"
    with pytest.raises(RuntimeError):
        _ = server.url


async def test_a_bad_key_is_let_in_told_and_closed():
    async with serve_embedded(options(token="s3cret")) as server:
        told = ("invalid_api_key", 3000, "invalid_request_error.invalid_api_key")
        assert await refused(server) == told
        assert await refused(server, headers=[(b"authorization", b"Bearer nope")]) == told
        assert await refused(server, headers=[(b"authorization", b"Basic s3cret")]) == told
        assert await refused(server, headers=[(b"authorization", b"Bearer \xff")]) == told
        assert await refused(server, subprotocols=["openai-insecure-api-key.nope"]) == told


@pytest.mark.parametrize(
    ("headers", "subprotocols"),
    [
        ([(b"Authorization", b"Bearer s3cret")], []),
        ([(b"api-key", b"s3cret")], []),
        ([], ["realtime", "openai-insecure-api-key.s3cret"]),
    ],
)
async def test_the_right_key_opens_a_session(headers, subprotocols):
    async with serve_embedded(options(token="s3cret")) as server:
        event = await greeted(server, headers=headers, subprotocols=subprotocols)
        assert event["type"] == "session.created"


async def test_the_beta_is_refused_after_the_key_and_before_the_model():
    beta = [(b"OpenAI-Beta", b"realtime=v1")]
    told = ("beta_api_shape_disabled", 4000, "invalid_request_error.beta_api_shape_disabled")
    async with serve_embedded(options()) as server:
        assert await refused(server, headers=beta) == told
        assert await refused(server, query="", headers=beta) == told
        assert await refused(server, subprotocols=["realtime", "openai-beta.realtime-v1"]) == told
    async with serve_embedded(options(token="s3cret")) as server:
        assert (await refused(server, headers=beta))[0] == "invalid_api_key"


async def test_the_model_must_be_given_and_known():
    async with serve_embedded(options(models=frozenset({"known"}))) as server:
        assert (await refused(server, ""))[:2] == ("missing_model", 4000)
        assert (await refused(server, "?model="))[:2] == ("missing_model", 4000)
        assert (await refused(server, "?model=other"))[:2] == ("invalid_model", 4000)
        assert (await greeted(server, "?model=known"))["session"]["model"] == "known"


async def test_a_call_can_be_attached_when_there_is_one():
    async with serve_embedded(options(calls={"rtc_1": "m"})) as server:
        assert (await greeted(server, "?call_id=rtc_1"))["session"]["model"] == "m"
        assert (await refused(server, "?call_id=rtc_2"))[:2] == ("invalid_value", 4000)
        assert (await refused(server, "?call_id=rtc_1&model=m"))[:2] == ("invalid_value", 4000)


async def test_a_transcription_session_needs_no_model():
    async with serve_embedded(options()) as server:
        event = await greeted(server, "?intent=transcription")
        assert event["session"]["object"] == "realtime.transcription_session"


async def test_realtime_is_selected_among_subprotocols():
    async with serve_embedded(options()) as server:
        url = server.url + "?model=m"
        async with connect(url, subprotocols=["other", "realtime"]) as client:
            assert client.ws.subprotocol == "realtime"
        async with connect(url, subprotocols=["other"]) as client:
            assert client.ws.subprotocol is None


@pytest.mark.parametrize("path", ["/", "/v1/other", "//[", "/v1/realtime/x?model=m"])
async def test_other_paths_are_not_found(path):
    async with serve_embedded(options()) as server:
        answer = await raw_exchange(server, UPGRADE.replace(b"PATH", path.encode()))
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_spoken_turn_with_a_tool_and_an_interruption():
    async with (
        serve_embedded(options(pace=20)) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.until("session.created")
        transcription = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        await client.send(session_update(tools=[function_tool()], audio=transcription))
        await client.until("session.updated")

        await client.send(*appends(spoken_turn()))
        turn = await client.until("response.done")
        call = only(turn, "response.function_call_arguments.done")
        item = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        await client.send({"type": "conversation.item.create", "item": item}, CREATE)
        answer = await client.until("response.done")
        assert "sunny" in only(answer, "response.output_audio_transcript.done")["transcript"]
        heard = only(client.seen, "conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == "(1.9 s of speech)"

        await client.send(*appends(spoken_turn("something")))
        await client.until("response.output_audio.delta")
        await client.send(*appends(spoken_turn()))
        cut = (await client.until("response.done"))[-1]["response"]
        assert cut["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        truncation = {
            "type": "conversation.item.truncate",
            "item_id": cut["output"][0]["id"],
            "content_index": 0,
            "audio_end_ms": 100,
        }
        await client.send(truncation)
        await client.until("conversation.item.truncated")
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"


async def test_malformed_frames_are_answered_on_the_same_connection():
    async with (
        serve_embedded(options()) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        for frame, code in [("nonsense", "invalid_json"), (b"\0", "invalid_event")]:
            await client.ws.send_message(frame)
            assert (await client.next())["error"]["code"] == code
        await client.send(typed("hello"), CREATE)
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"


async def test_an_oversize_message_closes_with_1009():
    limits = ServerLimits(max_message_size=1000, close_seconds=5)
    async with (
        serve_embedded(options(limits=limits)) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        # So large that most of it is still unread when the server closes.
        await client.ws.send_message("x" * 8_000_000)
        code, _ = await client.closed()
        assert code == 1009


async def test_too_many_connections_are_told_to_come_back():
    limits = ServerLimits(max_connections=1, close_seconds=0.5)
    async with serve_embedded(options(limits=limits)) as server:
        async with connect(server.url + "?model=m") as client:
            await client.next()
            assert (await refused(server))[:2] == ("rate_limit_exceeded", 1013)
            await client.send(typed("hello"))
            await client.until("conversation.item.done")
        await all_gone(server)
        assert (await greeted(server))["type"] == "session.created"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        UPGRADE.replace(b"Sec-WebSocket-Key", b"Sec-WebSocket-Lock"),
        b"POST /v1/realtime HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        b"",
    ],
)
async def test_what_is_no_websocket_is_dropped_and_the_server_goes_on(data, caplog):
    async with serve_embedded(options()) as server:
        await raw_exchange(server, data)
        assert (await greeted(server))["type"] == "session.created"
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\xfe\x00",  # a header cut short, then the end
        b"\x83\x80\0\0\0\0",  # a reserved opcode
        b"\x81\x01x",  # unmasked
        b"\x81\x82\0\0\0\0\xff\xff",  # not UTF-8
        b"\x88\x81\0\0\0\0x",  # a close frame with half a code
    ],
)
async def test_broken_framing_ends_that_connection_only(frame, caplog):
    async with serve_embedded(options()) as server:
        async with connect(server.url + "?model=m") as client:
            await client.next()
            await client.ws._stream.send_all(frame)
            if frame.endswith(b"\x00"):
                await client.ws._stream.aclose()
            await all_gone(server)
        assert (await greeted(server))["type"] == "session.created"
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


async def test_leaving_the_block_while_clients_talk_is_quick_and_complete():
    async with trio.open_nursery() as nursery:
        closed = []

        async def talk(url, *, task_status):
            async with connect(url + "?model=m") as client:
                await client.next()
                await client.send(typed("tell me a story"), CREATE)
                await client.until("response.output_audio.delta")
                task_status.started()
                closed.append(await client.closed())

        async with serve_embedded(options(pace=1)) as server:
            for _ in range(3):
                await nursery.start(talk, server.url)
            host, _, port = server.authority.rpartition(":")
            began = trio.current_time()
        assert trio.current_time() - began < 2
        assert server.connections == 0
        with pytest.raises(OSError, match="attempts"):
            await trio.open_tcp_stream(host, int(port))
    assert [code for code, _ in closed] == [1001] * 3


async def test_an_exception_of_the_block_comes_out_as_it_is():
    with pytest.raises(KeyError, match="mine"):
        async with serve_embedded(options()):
            raise KeyError("mine")


async def test_an_address_that_is_taken_is_an_oserror():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=r"[Aa]ddress"):
            async with serve_embedded(options(), port=taken.getsockname()[1]):
                pass


async def test_it_can_be_started_in_a_nursery():
    async with trio.open_nursery() as nursery:
        server = await nursery.start(EmbeddedServer(options()).serve)
        assert (await greeted(server))["type"] == "session.created"
        nursery.cancel_scope.cancel()


async def test_ids_are_reproducible_with_a_seed():
    ids = []
    for _ in range(2):
        async with (
            serve_embedded(options(), seed="s") as server,
            connect(server.url + "?model=m") as client,
        ):
            await client.next()
            await client.send(typed("hello"), CREATE)
            events = await client.until("rate_limits.updated")
            ids.append([event["event_id"] for event in events])
    assert ids[0] == ids[1]


class Broken:
    def reply(self, request):
        raise ValueError("bug")


class Wordy:
    def reply(self, request):
        return ["not a reply"]


class Slow:
    async def reply(self, request):
        await trio.sleep_forever()


class Thoughtful:
    async def reply(self, request):
        await trio.lowlevel.checkpoint()
        return [Say(f"I heard {request.history[-1].text}.")]


@pytest.mark.parametrize("brain", [Broken(), Wordy(), Slow()], ids=lambda b: type(b).__name__)
async def test_a_brain_that_fails_fails_the_response_and_not_the_session(brain):
    limits = ServerLimits(brain_seconds=0.05, close_seconds=0.5)
    async with (
        serve_embedded(options(brain=brain, limits=limits)) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        for _ in range(2):
            await client.send(CREATE)
            done = (await client.until("response.done"))[-1]["response"]
            assert done["status"] == "failed"
            assert done["status_details"]["error"]["code"] == "server_error"
            await client.until("rate_limits.updated")


async def test_a_brain_stops_thinking_when_its_response_is_cancelled():
    class Pondering:
        def __init__(self):
            self.stopped = trio.Event()

        async def reply(self, request):
            try:
                await trio.sleep_forever()
            finally:
                self.stopped.set()

    brain = Pondering()
    async with (
        serve_embedded(options(brain=brain)) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        await client.send(CREATE)
        await client.until("response.created")
        await client.send({"type": "response.cancel"})
        await client.until("response.done")
        with trio.fail_after(5):
            await brain.stopped.wait()


class Blocking:
    """A recognizer that computes, as real ones do."""

    def transcribe(self, audio, sample_rate):
        assert sample_rate == 24000
        return f"{len(audio)} bytes"


class Mumbling:
    async def transcribe(self, audio, sample_rate):
        raise RecognitionFailed("too faint")


class Buggy:
    async def transcribe(self, audio, sample_rate):
        raise ZeroDivisionError


class Stuck:
    async def transcribe(self, audio, sample_rate):
        await trio.sleep_forever()


async def transcribed(recognizer, **limits):
    chosen = ServerLimits(close_seconds=0.5, **limits)
    async with (
        serve_embedded(options(recognizer=recognizer, brain=Thoughtful(), limits=chosen)) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        await client.send(
            session_update(audio={"input": {"transcription": {"model": "whisper-1"}}}),
            *appends(spoken_turn()),
        )
        return await client.until("rate_limits.updated")


async def test_a_recognizer_in_a_thread_is_heard_by_the_client_and_the_brain():
    events = await transcribed(Blocking())

    heard = only(events, "conversation.item.input_audio_transcription.completed")["transcript"]
    said = only(events, "response.output_audio_transcript.done")["transcript"]
    assert heard.endswith(" bytes")
    assert said == f"I heard {heard}."


@pytest.mark.parametrize(
    ("recognizer", "code"),
    [(Mumbling(), "audio_unintelligible"), (Buggy(), "server_error"), (Stuck(), "timeout")],
    ids=lambda value: type(value).__name__,
)
async def test_a_recognizer_that_fails_does_not_hold_up_the_answer(recognizer, code):
    events = await transcribed(recognizer, recognizer_seconds=0.05)

    failed = only(events, "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == code
    assert only(events, "response.done")["response"]["status"] == "completed"


async def test_a_dropped_connection_has_no_close_frame():
    quirks = Quirks(drop_after_events=4)
    async with (
        serve_embedded(options(quirks=quirks)) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        await client.send(typed("hello"), CREATE)
        code, _ = await client.closed()
        assert code == 1006
        assert len(client.seen) == 4


async def test_a_close_without_an_error_event():
    quirks = Quirks(close_without_error=True)
    async with (
        serve_embedded(options(quirks=quirks, token="s3cret")) as server,
        connect(server.url + "?model=m") as client,
    ):
        assert await client.closed() == (3000, "invalid_request_error.invalid_api_key")
        assert client.seen == []


async def test_several_clients_at_once_do_not_mix():
    async with serve_embedded(options()) as server:
        answers = {}

        async def ask(word):
            async with connect(server.url + "?model=m") as client:
                await client.next()
                await client.send(session_update(output_modalities=["text"]))
                await client.send(typed(f"repeat {word}"), CREATE)
                events = await client.until("response.done")
                answers[word] = only(events, "response.output_text.done")["text"]

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(ask, f"word{number}")

        assert answers == {f"word{number}": f"word{number}" for number in range(8)}


async def test_a_retrieved_turn_of_minutes_fits_in_a_frame():
    async with (
        serve_embedded(options()) as server,
        connect(server.url + "?model=m") as client,
    ):
        await client.next()
        await client.send(session_update(audio={"input": {"turn_detection": None}}))
        minutes = bytes(2 * 60 * 48000)
        await client.send(*appends(minutes, 10**6), {"type": "input_audio_buffer.commit"})
        committed = (await client.until("input_audio_buffer.committed"))[-1]
        item_id = committed["item_id"]
        await client.send({"type": "conversation.item.retrieve", "item_id": item_id})
        item = (await client.until("conversation.item.retrieved"))[-1]["item"]
        assert base64.b64decode(item["content"][0]["audio"]) == minutes


@pytest.mark.parametrize(
    ("cls", "field", "wrong"),
    [
        (ServerOptions, "pace", [-1, "4", math.nan, True]),
        (ServerOptions, "playback", [-1, "1"]),
        (ServerOptions, "brain", ["x", DefaultBrain, None]),
        (ServerOptions, "recognizer", ["x", None]),
        (ServerOptions, "access", ["s3cret", None]),
        (ServerOptions, "quirks", [{"obfuscation": True}]),
        (ServerOptions, "limits", [{"max_connections": 1}]),
        (ServerOptions, "voice", [5, ""]),
        (ServerLimits, "max_connections", [-1, "32", 1.5, True]),
        (ServerLimits, "max_message_size", [0, -1, 0.5]),
        (ServerLimits, "close_seconds", [-1, "1", math.nan]),
        (Quirks, "transcription", ["sometimes", None]),
        (Quirks, "obfuscation", ["no", 1]),
        (Quirks, "drop_after_events", [0, "4", 1.5]),
        (AccessPolicy, "models", ["gpt-realtime", 5]),
        (AccessPolicy, "calls", [["call_1"]]),
        (EmbeddedProvider, "options", [None, {"pace": 4}]),
        (EmbeddedProvider, "config", [None, {"voice": "marin"}]),
    ],
)
def test_options_are_refused_by_their_field(cls, field, wrong):
    for value in wrong:
        with pytest.raises(InvalidConfig, match=rf"{cls.__name__}\.{field} is .*; allowed: "):
            cls(**{field: value})


def test_what_stands_in_the_place_of_a_token_is_not_shown():
    with pytest.raises(InvalidConfig, match=r"AccessPolicy\.token is bytes; allowed: a string"):
        AccessPolicy(token=b"s3cret")
