"""The wires: what a stream owes its users, what each kind shows, and each fault."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from meerkat_rt.testing import WIRES, make_wire


async def read_all(stream):
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


@pytest.mark.parametrize("name", WIRES)
async def test_a_wire_passes_trios_own_check_of_half_closeable_streams(name, autojump_clock):
    async def make():
        wire = make_wire(name)
        return wire.client, wire.server

    async def make_clogged():
        wire = make_wire(name)
        for pipe in (wire.to_client, wire.to_server):
            pipe.capacity = 1
            pipe.put(memoryview(b"x"))
        return wire.client, wire.server

    await trio.testing.check_half_closeable_stream(make, make_clogged)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="memory, lockstep, tearing"):
        make_wire("rope")


@pytest.mark.parametrize("name", WIRES)
async def test_bytes_arrive_whole_and_in_order(name, autojump_clock):
    wire = make_wire(name)
    for data in (b"a", b"bc", b"", bytes(range(256)) * 300):
        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.client.send_all, data)
            while len(received) < len(data):
                received += await wire.server.receive_some()
        assert received == data


async def test_a_memory_write_is_all_or_nothing_when_cancelled(autojump_clock):
    wire = make_wire("memory")
    with trio.CancelScope() as scope:
        scope.cancel()
        await wire.client.send_all(b"frame")
    assert not wire.client.torn
    assert wire.to_server.waiting == b""


async def test_a_tearing_write_leaves_a_part_and_a_second_one_is_an_offence(
    nursery, autojump_clock
):
    wire = make_wire("tearing")
    scope = trio.CancelScope()

    async def write():
        with scope:
            await wire.client.send_all(b"0123456789")

    nursery.start_soon(write)
    while not wire.to_server.waiting:
        await trio.lowlevel.checkpoint()
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert bytes(wire.to_server.waiting) in (b"012", b"01234")  # cut at a seam, never whole
    assert wire.client.torn
    assert wire.offences == []
    await wire.client.send_all(b"more")
    assert wire.offences == ["a write after one that was cancelled half-way"]


async def test_a_lockstep_write_ends_when_all_is_read(nursery, autojump_clock):
    wire = make_wire("lockstep")
    written = trio.Event()

    async def write():
        await wire.client.send_all(b"0123456789")
        written.set()

    nursery.start_soon(write)
    assert await wire.server.receive_some(4) == b"0123"
    await trio.testing.wait_all_tasks_blocked()
    assert not written.is_set()
    assert await wire.server.receive_some() == b"456789"
    await written.wait()


async def test_a_lockstep_write_to_a_peer_that_goes_breaks(nursery, autojump_clock):
    wire = make_wire("lockstep")

    async def write():
        with pytest.raises(trio.BrokenResourceError):
            await wire.client.send_all(b"0123456789")

    nursery.start_soon(write)
    await wire.server.receive_some(4)
    wire.drop()


@pytest.mark.parametrize("name", WIRES)
async def test_closing_ones_own_end_ends_ones_own_waits(name, nursery, autojump_clock):
    wire = make_wire(name)

    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await wire.client.receive_some()

    async def write():
        with pytest.raises(trio.ClosedResourceError):
            await wire.client.send_all(bytes(10))

    wire.stop_reading()
    nursery.start_soon(read)
    nursery.start_soon(write)
    await trio.testing.wait_all_tasks_blocked()
    wire.client.close()


@pytest.mark.parametrize("name", WIRES)
async def test_two_writers_or_two_readers_are_refused(name, nursery, autojump_clock):
    wire = make_wire(name)
    wire.stop_reading()
    nursery.start_soon(wire.client.receive_some)
    nursery.start_soon(wire.client.send_all, b"x")
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await wire.client.receive_some()
    with pytest.raises(trio.BusyResourceError):
        await wire.client.send_all(b"y")
    nursery.cancel_scope.cancel()


# -- faults -------------------------------------------------------


async def test_drop_delivers_what_is_on_its_way_and_then_the_end(autojump_clock):
    wire = make_wire()
    await wire.server.send_all(b"last words")
    wire.drop()
    assert await read_all(wire.client) == b"last words"
    with pytest.raises(trio.BrokenResourceError):
        await wire.client.send_all(b"hello?")


async def test_reset_loses_what_is_on_its_way(autojump_clock):
    wire = make_wire()
    await wire.server.send_all(b"lost")
    wire.reset()
    for end in (wire.client, wire.server):
        with pytest.raises(trio.BrokenResourceError):
            await end.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await end.send_all(b"x")


async def test_reset_after_some_bytes_cuts_there(autojump_clock):
    wire = make_wire()
    await wire.server.send_all(b"0123456789")
    wire.reset(after=4)
    assert await wire.client.receive_some() == b"0123"
    with pytest.raises(trio.BrokenResourceError):
        await wire.client.receive_some()


async def test_half_close_ends_one_direction_only(autojump_clock):
    wire = make_wire()
    wire.half_close()
    assert await read_all(wire.client) == b""
    await wire.client.send_all(b"still here")
    assert await wire.server.receive_some() == b"still here"


async def test_a_peer_that_stops_reading_blocks_the_writer_after_some_room(autojump_clock):
    wire = make_wire()
    wire.stop_reading(room=4)
    await wire.client.send_all(b"0123")
    with trio.move_on_after(100) as scope:
        await wire.client.send_all(b"4567")
    assert scope.cancelled_caught
    assert not wire.client.torn  # nothing of it went out
    with trio.move_on_after(100) as scope:
        await wire.server.receive_some()
    assert scope.cancelled_caught
    wire.start_reading()
    assert await wire.server.receive_some() == b"0123"


async def test_a_write_that_fills_the_room_and_is_cancelled_is_torn(autojump_clock):
    wire = make_wire()
    wire.stop_reading(room=2)
    with trio.move_on_after(1):
        await wire.client.send_all(b"0123")
    assert wire.client.torn


async def test_held_bytes_come_with_the_release(nursery, autojump_clock):
    wire = make_wire()
    wire.hold()
    await wire.server.send_all(b"late")
    with trio.move_on_after(100) as scope:
        await wire.client.receive_some()
    assert scope.cancelled_caught
    wire.release()
    assert await wire.client.receive_some() == b"late"


async def test_a_network_that_goes_silent_tells_nobody(autojump_clock):
    wire = make_wire()
    wire.vanish()
    await wire.server.send_all(b"anybody?")
    with trio.move_on_after(3600) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.client.receive_some)
            nursery.start_soon(wire.client.send_all, b"anybody?")
    assert scope.cancelled_caught


async def test_split_hands_over_a_little_at_a_time(autojump_clock):
    wire = make_wire()
    wire.split(3)
    await wire.server.send_all(b"0123456789")
    assert [await wire.client.receive_some() for _ in range(4)] == [b"012", b"345", b"678", b"9"]


async def test_wait_for_room(autojump_clock):
    wire = make_wire()
    await wire.client.wait_send_all_might_not_block()
    wire.stop_reading()
    with trio.move_on_after(5) as scope:
        await wire.client.wait_send_all_might_not_block()
    assert scope.cancelled_caught


async def test_a_write_that_a_reset_has_broken_off_is_no_offence(autojump_clock):
    wire = make_wire("tearing")

    async def reset():
        await trio.lowlevel.checkpoint()
        wire.reset()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reset)
        with pytest.raises(trio.BrokenResourceError):
            await wire.client.send_all(b"x" * 100)
    with pytest.raises(trio.BrokenResourceError):
        await wire.client.send_all(b"y")
    assert wire.offences == []
