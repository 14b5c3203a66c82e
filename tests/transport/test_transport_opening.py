"""Opening a connection: what goes out, what may come back, and that a failure leaves nothing."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl

import pytest
import trio
import trio.testing
import trustme
from transport_peers import (
    TEXT,
    RawPeer,
    RecordingStream,
    connector_on,
    frame,
    open_rig,
    streams_for,
)
from wsproto.events import AcceptConnection

from meerkat_rt.transport import HandshakeFailed, TransportClosed, WebSocketTarget, connector
from meerkat_rt.transport.opening import default_ssl_context, status_of


@pytest.fixture(params=["websockets", "trio-websocket"])
def name(request):
    """The name of a connector."""
    return request.param


async def failure(name, nursery, answer, *, gone=False, **target) -> HandshakeFailed:
    """Connect to a peer that does `answer(peer)`; the stream has to be closed afterwards."""
    near, far = streams_for("memory")
    stream = RecordingStream(near)
    if gone:
        await trio.aclose_forcefully(far)
    where = WebSocketTarget(**({"url": "ws://peer.test/"} | target))
    async with trio.open_nursery() as peers:
        peers.start_soon(answer, RawPeer(far))
        with trio.fail_after(10), pytest.raises(HandshakeFailed) as caught:
            await connector_on(name, stream).connect(where, nursery=nursery)
        assert stream.closed
        peers.cancel_scope.cancel()
    assert not nursery.child_tasks
    return caught.value


def answering(*parts: bytes, hang_up: bool = False):
    async def answer(peer):
        await peer.read_request()
        for part in parts:
            await peer.stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        if hang_up:
            await peer.vanish()

    return answer


# -- the request --


async def test_the_request(name, nursery):
    requests = []

    async def accept(peer):
        requests.append(await peer.accept(subprotocol="realtime"))

    await open_rig(
        name,
        nursery,
        accept=accept,
        url="ws://peer.test:8080/v1/realtime?model=gpt-realtime&x=%20",
        headers={"Authorization": "Bearer secret", "OpenAI-Beta": "realtime=v1"},
        subprotocols=["realtime", "other"],
    )
    (request,) = requests
    assert request.host == "peer.test:8080"
    assert request.target == "/v1/realtime?model=gpt-realtime&x=%20"
    assert request.subprotocols == ["realtime", "other"]
    headers = dict(request.extra_headers)
    assert headers[b"authorization"] == b"Bearer secret"
    assert headers[b"openai-beta"] == b"realtime=v1"
    assert b"origin" not in headers


@pytest.mark.parametrize(
    ("url", "host", "resource"),
    [
        ("ws://peer.test", "peer.test", "/"),
        ("ws://peer.test:80?q", "peer.test", "/?q"),
        ("ws://[::1]:9000/a", "[::1]:9000", "/a"),
    ],
)
async def test_what_is_asked_of_whom(name, nursery, url, host, resource):
    requests = []

    async def accept(peer):
        requests.append(await peer.accept())

    await open_rig(name, nursery, accept=accept, url=url)
    assert (requests[0].host, requests[0].target) == (host, resource)
    assert not requests[0].subprotocols


async def test_the_api_key_is_in_no_log(name, nursery, caplog):
    caplog.set_level(logging.DEBUG)
    rig = await open_rig(
        name, nursery, url="ws://peer.test/?key=hidden", headers={"Authorization": "Bearer hidden"}
    )
    await rig.send(b"hidden")
    await rig.peer.say(b"hidden")
    await rig.receive()
    assert "hidden" not in caplog.text


# -- refusals --


SAID = b'{"error":"bad key"}'


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 19\r\n\r\n" + SAID,
        b"Transfer-Encoding: chunked\r\n\r\n13\r\n" + SAID + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_a_refusal_has_a_status_and_a_body(name, nursery, rest):
    error = await failure(name, nursery, answering(b"HTTP/1.1 401 Unauthorized\r\n" + rest))
    assert (error.status, error.body) == (401, SAID)
    assert "401" in str(error)
    assert "bad key" in str(error)
    assert error.__cause__ is not None


async def test_a_refusal_that_ends_with_the_connection(name, nursery):
    wire = b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n" + SAID
    error = await failure(name, nursery, answering(wire, hang_up=True))
    assert error.status == 401
    # trio-websocket does not tell wsproto of the end, and so never has all of the body.
    assert error.body == (SAID if name == "websockets" else b"")


@pytest.mark.parametrize("status", [301, 403, 404, 426, 429, 500, 503])
async def test_a_refusal_without_a_body(name, nursery, status):
    answer = answering(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status)
    assert (await failure(name, nursery, answer)).status == status


async def test_an_answer_without_an_upgrade_is_a_refusal(name, nursery):
    answer = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await failure(name, nursery, answer)).status == 200


async def test_a_refusal_that_comes_in_pieces(name, nursery):
    wire = b"HTTP/1.1 429 Slow Down\r\nContent-Length: 4\r\n\r\nwait"
    error = await failure(name, nursery, answering(*(wire[n : n + 1] for n in range(len(wire)))))
    assert (error.status, error.body) == (429, b"wait")


async def test_a_refusal_that_is_cut_short_keeps_its_status(name, nursery):
    wire = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nbecause"
    assert (await failure(name, nursery, answering(wire, hang_up=True))).status == 403


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16" * 10 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"x" * 200_000,
    ],
    ids=["ssh", "tls-alert", "wrong-accept", "wrong-upgrade", "bare", "endless"],
)
async def test_an_answer_that_is_no_answer(name, nursery, answer):
    error = await failure(name, nursery, answering(answer, hang_up=True))
    assert error.status is None
    assert "peer.test" in str(error)


async def test_a_subprotocol_that_nobody_offered(name, nursery):
    async def accept(peer):
        request = await peer.read_request()
        request.subprotocols.append("surprise")
        answer = peer._protocol.send(AcceptConnection(subprotocol="surprise"))
        await peer.stream.send_all(answer)

    assert (await failure(name, nursery, accept, subprotocols=["realtime"])).status is None


# -- peers that vanish, or never speak --


@pytest.mark.parametrize("url", ["ws://peer.test", "wss://peer.test"])
async def test_the_peer_is_gone_before_the_request(name, nursery, url):
    error = await failure(name, nursery, RawPeer.vanish, gone=True, url=url)
    assert error.status is None
    assert isinstance(error.__cause__, trio.BrokenResourceError)


async def test_the_peer_vanishes_before_it_has_read_the_request(name, nursery):
    assert (await failure(name, nursery, RawPeer.vanish)).status is None


async def test_the_peer_vanishes_before_it_answers(name, nursery):
    error = await failure(name, nursery, answering(hang_up=True))
    assert error.status is None


@pytest.mark.parametrize("length", [1, 12, 20, 60])
async def test_the_peer_vanishes_in_its_answer(name, nursery, length):
    wire = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    assert (await failure(name, nursery, answering(wire[:length], hang_up=True))).status is None


async def test_a_silent_peer_costs_the_callers_deadline_and_no_more(name, autojump_clock):
    near, far = streams_for("memory")
    stream = RecordingStream(near)
    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        with trio.move_on_after(10) as patience:
            target = WebSocketTarget(url="ws://peer.test")
            await connector_on(name, stream).connect(target, nursery=nursery)
        assert patience.cancelled_caught
        assert trio.current_time() == started + 10
        assert stream.closed
        assert not nursery.child_tasks
        assert await far.receive_some()
        assert not await far.receive_some()


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_cancelled_anywhere_it_leaves_nothing(name, tls, secure):
    outcomes = set()
    target = WebSocketTarget(
        url="wss://peer.test" if secure else "ws://peer.test", ssl_context=tls[1]
    )
    for ticks in range(60):
        near, far = streams_for("lockstep")
        stream = RecordingStream(near)
        if secure:
            far = trio.SSLStream(far, tls[0], server_side=True, https_compatible=True)
        scope = trio.CancelScope()

        async def accept(far=far):
            with contextlib.suppress(trio.BrokenResourceError):
                await RawPeer(far).accept()

        async def cancel(scope=scope, ticks=ticks):
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with trio.open_nursery() as peers, trio.open_nursery() as nursery:
            peers.start_soon(accept)
            peers.start_soon(cancel)
            with scope:
                transport = await connector_on(name, stream).connect(target, nursery=nursery)
            if not scope.cancelled_caught:
                await transport.aclose()
            assert not nursery.child_tasks
            # Before the stream was opened there was none to close.
            assert stream.closed or not stream.writes
            outcomes.add("cancelled" if scope.cancelled_caught else "open")
            if stream.writes and scope.cancelled_caught:
                outcomes.add("cancelled half-way")
            await trio.aclose_forcefully(stream)
            peers.cancel_scope.cancel()
    assert outcomes == {"cancelled", "cancelled half-way", "open"}


async def test_the_stream_cannot_be_opened(name, nursery):
    async def open_stream(_host, _port):
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(HandshakeFailed, match="Name or service not known") as caught:
        await connector(name, open_stream=open_stream).connect(
            WebSocketTarget(url="ws://peer.test:81/?key=hidden"), nursery=nursery
        )
    assert caught.value.status is None
    assert isinstance(caught.value.__cause__, socket.gaierror)
    assert "peer.test:81" in str(caught.value)
    assert "hidden" not in str(caught.value)


# -- TLS --


async def tls_failure(name, nursery, server, client, url="wss://peer.test/") -> HandshakeFailed:
    async def shake_hands(peer):
        secure = trio.SSLStream(peer.stream, server, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await secure.do_handshake()
            await secure.receive_some()

    return await failure(name, nursery, shake_hands, url=url, ssl_context=client)


async def test_a_certificate_that_is_not_trusted(name, nursery, tls):
    stranger = ssl.create_default_context()
    trustme.CA().configure_trust(stranger)
    error = await tls_failure(name, nursery, tls[0], stranger)
    assert error.status is None
    assert "certificate verify failed" in str(error)


async def test_the_default_context_trusts_no_private_authority(name, nursery, tls):
    error = await tls_failure(name, nursery, tls[0], None)
    assert "certificate verify failed" in str(error)
    assert default_ssl_context() is default_ssl_context()


async def test_a_certificate_of_somebody_else(name, nursery, tls):
    error = await tls_failure(name, nursery, tls[0], tls[1], url="wss://other.test/")
    assert "other.test" in str(error)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_peer_that_knows_no_tls(name, nursery, tls, answer):
    async def speak(peer):
        await peer.stream.receive_some()
        await peer.stream.send_all(answer)
        await peer.vanish()

    error = await failure(name, nursery, speak, url="wss://peer.test", ssl_context=tls[1])
    assert error.status is None
    assert "TLS" in str(error)


async def test_a_context_that_is_not_for_clients(name, nursery, tls):
    error = await tls_failure(name, nursery, tls[0], ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert isinstance(error.__cause__, ssl.SSLError)


@pytest.mark.parametrize("url", ["ws://peer.test", "wss://peer.test"])
async def test_a_stream_with_a_fault_of_its_own_is_closed(name, nursery, url):
    class Faulty(RecordingStream):
        async def send_all(self, data):
            raise RuntimeError("not my day")

    stream = Faulty(streams_for("memory")[0])
    with pytest.raises((RuntimeError, HandshakeFailed)) as caught:
        await connector_on(name, stream).connect(WebSocketTarget(url=url), nursery=nursery)
    assert "not my day" in str(caught.value)
    assert stream.closed


# -- sockets --


async def serve_once(listener, serve, context=None):
    stream = await listener.accept()
    if context is not None:
        stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    async with stream:
        await serve(RawPeer(stream))


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_over_real_sockets(name, nursery, tls, secure):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    heard = []

    async def serve(peer):
        await peer.accept()
        await peer.say(b"hello", b"x" * 500_000)
        heard.extend([await peer.hear() for _ in range(2)])
        await peer.close(1000, "bye")
        heard.append(await peer.hear())

    with trio.fail_after(10):
        async with trio.open_nursery() as serving:
            serving.start_soon(serve_once, listener, serve, tls[0] if secure else None)
            scheme = "wss" if secure else "ws"
            target = WebSocketTarget(url=f"{scheme}://127.0.0.1:{port}/", ssl_context=tls[1])
            transport = await connector(name).connect(target, nursery=nursery)
            got = []
            while len(got) < 2:
                got += await transport.receive()
            assert got == [b"hello", b"x" * 500_000]
            await transport.send([b"one", b"y" * 100_000])
            with pytest.raises(TransportClosed, match="bye"):
                await transport.receive()
            await transport.send([])
            await transport.aclose()
    assert heard == [("text", "one"), ("text", "y" * 100_000), ("close", 1000, "bye")]
    await listener.aclose()


async def test_nobody_listens(name, nursery):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        target = WebSocketTarget(url=f"ws://127.0.0.1:{taken.getsockname()[1]}/")
        with trio.fail_after(10), pytest.raises(HandshakeFailed) as caught:
            await connector(name).connect(target, nursery=nursery)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_peer_that_resets(name, nursery):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve(peer):
        await peer.accept(then=frame(TEXT, b"x"))
        linger = socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        await first.wait()
        peer.stream.setsockopt(*linger)

    first = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as serving:
            serving.start_soon(functools.partial(serve_once, listener, serve))
            port = listener.socket.getsockname()[1]
            target = WebSocketTarget(url=f"ws://127.0.0.1:{port}/")
            transport = await connector(name).connect(target, nursery=nursery)
            assert await transport.receive() == [b"x"]
            first.set()
            with pytest.raises(TransportClosed) as caught:
                await transport.receive()
            assert caught.value.by == "network"
            assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
            await transport.aclose()
    await listener.aclose()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 401 No", 401),
        (b"HTTP/1.0 503\r\n", 503),
        (b"HTTP/1.1 40", None),
        (b"HTTP/2 200 ", None),
        (b"", None),
    ],
)
def test_the_status_of_an_answer(answer, status):
    assert status_of(answer) == status
