"""TLS over one reader and one writer: against Trio's and OpenSSL's own other end."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import memory_stream_pair

from meerkat_rt.transport import BURST_BUFFER
from meerkat_rt.transport.socket_stream import open_tcp
from meerkat_rt.transport.tls import ANSWER_GRACE, TLSStream, open_tls

BIG = bytes(range(256)) * 2000  # many records


@asynccontextmanager
async def connected(tls):
    """(our end, Trio's end, the stream under ours, the stream under Trio's)."""
    near, far = memory_stream_pair()
    server = trio.SSLStream(far, tls[0], server_side=True, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        client = await open_tls(near, tls[1], "peer.test")
    yield client, server, near, far


async def all_of(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some()
        assert piece, "the stream has ended"
        data += piece
    return data


async def test_both_ways_at_once(tls, autojump_clock):
    async with connected(tls) as (client, server, _, _), trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, BIG)
        nursery.start_soon(server.send_all, BIG)
        assert await all_of(server, len(BIG)) == BIG
        assert await all_of(client, len(BIG)) == BIG


async def test_one_read_takes_all_that_has_come(tls, autojump_clock):
    async with connected(tls) as (client, server, _, _):
        for word in (b"one ", b"two ", b"three"):
            await server.send_all(word)
        assert await client.receive_some() == b"one two three"


async def test_no_more_than_was_asked_for(tls, autojump_clock):
    async with connected(tls) as (client, server, _, _):
        await server.send_all(b"abcdef")
        assert await client.receive_some(4) == b"abcd"
        with trio.testing.assert_checkpoints():
            assert await client.receive_some(4) == b"ef"


class Watched:
    """What TLS reads from, and the most that it was given at once."""

    def __init__(self, incoming: ssl.MemoryBIO) -> None:
        self._incoming = incoming
        self.most = 0

    def write(self, data: bytes) -> None:
        self._incoming.write(data)
        self.most = max(self.most, self._incoming.pending)

    def __getattr__(self, name: str):
        return getattr(self._incoming, name)


@pytest.mark.parametrize("size", [BURST_BUFFER, 50_000])
async def test_a_burst_is_fed_to_tls_in_pieces(size, tls, autojump_clock):
    """For it keeps the room of the largest that it was ever given."""
    async with connected(tls) as (client, server, _, _), trio.open_nursery() as nursery:
        watched = client._incoming = Watched(client._incoming)
        nursery.start_soon(server.send_all, BIG)
        got = b""
        while len(got) < len(BIG):
            got += await client.receive_some(size)
        assert got == BIG
        assert 0 < watched.most <= 2 * 16 * 1024
        assert not client.pending()


async def test_a_record_in_pieces(tls, autojump_clock):
    """A byte at a time: what is not whole says nothing, and is not lost."""
    async with connected(tls) as (client, server, _, far):
        far_end = far.send_stream.send_all

        async def torn(data: bytes) -> None:
            for start in range(len(data)):
                await far_end(data[start : start + 1])
                await trio.sleep(1)

        far.send_stream.send_all = torn
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"whole")
            assert await client.receive_some() == b"whole"


async def test_a_cancelled_read_loses_nothing(tls, autojump_clock):
    async with connected(tls) as (client, server, _, _):
        for seconds in (0, 1):
            with trio.move_on_after(seconds) as scope:
                await client.receive_some()
            assert scope.cancelled_caught
        await server.send_all(b"hello")
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.receive_some()
        assert scope.cancelled_caught
        assert await client.receive_some() == b"hello"


@pytest.mark.parametrize("farewell", [True, False])
async def test_the_end_with_and_without_a_farewell(farewell, tls, autojump_clock):
    async with connected(tls) as (client, server, _, far):
        await server.send_all(b"last words")
        if farewell:
            with pytest.raises(ssl.SSLWantReadError):
                server._ssl_object.unwrap()
            await far.send_all(server._outgoing.read())
        else:
            await far.send_eof()
        assert await client.receive_some() == b"last words"
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                assert await client.receive_some() == b""


async def test_what_is_not_tls_breaks_the_connection(tls, autojump_clock):
    async with connected(tls) as (client, server, _, far):
        await server.send_all(b"before")
        await far.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert await client.receive_some() == b"before"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()


async def test_a_closed_stream(tls, autojump_clock):
    async with connected(tls) as (client, _, _, _):
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"x")


async def test_closing_wakes_the_reader(tls, autojump_clock):
    async with connected(tls) as (client, _, _, _), trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_some()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_a_second_reader_is_refused(tls, autojump_clock):
    async with connected(tls) as (client, _, _, _):
        with pytest.RaisesGroup(trio.BusyResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.receive_some)
                nursery.start_soon(client.receive_some)


async def test_a_cancelled_write_dooms_the_connection(tls, autojump_clock):
    async with connected(tls) as (client, _, near, _):
        stuck(near)
        with trio.move_on_after(1) as scope:
            await client.send_all(b"never")
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")


# ---------------------------------------------------------------- what the reader has to write


def stuck(stream: trio.StapledStream) -> None:
    """The peer takes nothing any more."""

    async def send_all(data: bytes) -> None:
        await trio.sleep_forever()

    stream.send_stream.send_all = send_all


def owes_an_answer(client: TLSStream) -> bytes:
    """Have TLS want to say something; returns what it will be."""
    client._tls.write(b"an answer")  # only ciphertext will do: the other end looks at it
    return b"an answer"


async def test_an_answer_waits_for_the_writer_and_does_not_cut_it(tls, autojump_clock):
    async with connected(tls) as (client, server, near, _):
        send = near.send_stream.send_all
        written: list[int] = []

        async def slow(data: bytes) -> None:
            written.append(len(data))
            await trio.sleep(1)
            await send(data)

        near.send_stream.send_all = slow
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"first ")
            await trio.testing.wait_all_tasks_blocked()
            expected = b"first " + owes_an_answer(client)
            await server.send_all(b"go on")
            assert await client.receive_some() == b"go on"
        assert await all_of(server, len(expected)) == expected
        assert len(written) == 2


async def test_an_answer_is_written_whole_though_the_reader_is_cancelled(tls, autojump_clock):
    async with connected(tls) as (client, server, near, _):
        send = near.send_stream.send_all

        async def slow(data: bytes) -> None:
            await trio.sleep(ANSWER_GRACE / 2)
            await send(data)

        near.send_stream.send_all = slow
        expected = owes_an_answer(client)
        await server.send_all(b"kept")
        with trio.move_on_after(0.1):
            assert await client.receive_some() == b"kept"
        assert await all_of(server, len(expected)) == expected
        await client.send_all(b"!")
        assert await server.receive_some() == b"!"


async def test_a_peer_that_takes_no_answer_cannot_hold_the_reader(tls, autojump_clock):
    async with connected(tls) as (client, server, near, _):
        stuck(near)
        owes_an_answer(client)
        await server.send_all(b"kept")
        start = trio.current_time()
        assert await client.receive_some() == b"kept"
        assert trio.current_time() - start == pytest.approx(ANSWER_GRACE)
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")
        await server.send_all(b"more")
        assert await client.receive_some() == b"more"


# ---------------------------------------------------------------- OpenSSL's own server


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("-tls1_3", b"k"),  # a key update
        ("-tls1_3", b"K"),  # one that wants ours, which the reader has to write
        ("-tls1_2", b"r"),  # a renegotiation
    ],
)
async def test_keys_that_change_amid_the_traffic(version, command, tls, authority, tmp_path):
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("peer.test")
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    command_line = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", version]
    server = await trio.lowlevel.open_process(
        [*command_line, "-cert", str(chain), "-key", str(key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    printed = b""

    async def until(words: bytes) -> bytes:
        """Read what the server prints, up to the end of the line with these words."""
        nonlocal printed
        while True:
            _, found, rest = printed.partition(words)
            if found and b"\n" in rest:
                line, printed = rest.split(b"\n", 1)
                return line
            more = await server.stdout.receive_some()
            assert more, "the server has ended"
            printed += more

    async def read(client: TLSStream, hear: trio.MemorySendChannel[bytes]) -> None:
        with hear:
            while True:
                await hear.send(await client.receive_some())

    try:
        port = int((await until(b"ACCEPT")).rsplit(b":", 1)[1])
        client = await open_tls(await open_tcp("127.0.0.1", port), tls[1], "peer.test")
        hear, heard = trio.open_memory_channel[bytes](10)
        with heard, trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, client, hear)
                await server.stdin.send_all(b"line\n")  # behind the tickets that TLS 1.3 gives
                assert await heard.receive() == b"line\n"
                for number in range(3):
                    fed = client._fed = trio.Event()
                    await server.stdin.send_all(command + b"\n")
                    await fed.wait()  # it takes one command at a time
                    await server.stdin.send_all(b"line %d\n" % number)
                    assert await heard.receive() == b"line %d\n" % number
                    await client.send_all(b"answer %d\n" % number)
                    await until(b"answer %d" % number)
                nursery.cancel_scope.cancel()
        await client.aclose()
    finally:
        server.kill()
        await server.stdin.aclose()
        await server.stdout.aclose()
        with trio.CancelScope(shield=True, relative_deadline=10):
            await server.wait()
