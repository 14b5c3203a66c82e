"""Whoever waits for the session's events reads its connection; while it is away, the receiver."""

from __future__ import annotations

import functools
import random
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trustme
from runtimekit import (
    NOTHING,
    closing,
    linger,
    nobody_else_holds,
    of,
    open_config,
    outcome,
    provider,
    take,
    welcoming,
)
from support import sockets
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import errors, open_session
from meerkat_rt import events as ev
from meerkat_rt.runtime import link as links
from meerkat_rt.runtime.reading import FRAMES_PER_STEP, Reading
from meerkat_rt.testing import InjectedError
from meerkat_rt.testing.openai_peer import openai_peer
from meerkat_rt.testing.scripted_peer import compact
from meerkat_rt.testing.wires import WireStream, make_wire
from meerkat_rt.transport import TransportClosed
from meerkat_rt.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from meerkat_rt import RealtimeSession
    from meerkat_rt.testing.openai_peer import OpenAIPeer

Delta = ev.OutputTextDeltaForItem
MANY = [f"word{number} " for number in range(3 * FRAMES_PER_STEP)]


class Steps(trio.abc.Instrument):
    """How many steps each task makes, by its name."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.made[task.name] += 1


@contextmanager
def counted_steps() -> Iterator[Counter[str]]:
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    yield steps.made
    trio.lowlevel.remove_instrument(steps)


@attrs.define(kw_only=True)
class Talk:
    """A session, and the server's one answer in it, which grows as it is told to."""

    session: RealtimeSession
    peer: OpenAIPeer
    near: trio.abc.Stream
    words: trio.MemorySendChannel[str]

    @property
    def unread(self) -> int:
        return self.session._core.events.waiting

    async def say(self, *words: str) -> None:
        """Each in a frame of its own; all has come where it can by then."""
        for word in words:
            await self.words.send(word)
        await wait_all_tasks_blocked()

    async def say_at_once(self, words: Iterable[str]) -> None:
        """As above, but all in one write."""
        self.peer.socket.cork()
        await self.say(*words)
        await self.peer.socket.uncork()
        await wait_all_tasks_blocked()

    async def hear(self) -> str:
        """The next words."""
        (*_, event) = await take(self.session, Delta)
        return event.delta


@pytest.fixture(scope="session")
def tls() -> sockets.Contexts:
    """(the context of the server peer.test, the context of a client that trusts it)."""
    return sockets.contexts(trustme.CA())


@asynccontextmanager
async def streams(kind: str, tls: Any) -> AsyncIterator[tuple[Any, Any]]:
    """(the session's end, the server's)."""
    if kind in ("memory", "lockstep"):
        wire = make_wire(kind)
        yield wire.client, wire.server
        assert wire.client.closed, "the session left its stream open"
    else:
        async with sockets.connected(tls if kind == "tls" else None) as (near, far):
            yield near, far
            assert not sockets.is_open(near), "the session left its socket open"


KINDS = ("memory", *(("socket", "tls") if sys.platform == "linux" else ()))


@pytest.fixture(params=KINDS)
def talking(request: pytest.FixtureRequest, tls: Any) -> Any:
    """Opens a talk in which one word has been said and read."""
    return functools.partial(open_talk, request.param, tls)


@asynccontextmanager
async def open_talk(kind: str, tls: Any) -> AsyncIterator[Talk]:
    send, receive = trio.open_memory_channel[str](0)

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("text")
        async for word in receive:
            await message.text(word)
        await linger(peer)

    async with (
        streams(kind, tls) as (near, far),
        openai_peer(far, welcoming(script), client_may_leave=True) as peer,
        open_session(open_config(), provider=provider(near)) as session,
    ):
        talk = Talk(session=session, peer=peer, near=near, words=send)
        await talk.say("So: ")
        assert await talk.hear() == "So: "
        yield talk
        await send.aclose()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """What the session has heard, a step each."""
    hear, steps = links.hear, []

    def noted(core: Any, link: Any, frames: list[bytes]) -> None:
        steps.append(frames)
        hear(core, link, frames)

    monkeypatch.setattr(links, "hear", noted)
    return steps


async def read_on(session: Any, read: list[Any]) -> None:
    async for event in session:
        read.append(event)  # noqa: PERF401  # what has been read is looked at meanwhile


# ---------------------------------------------------------------- who reads


async def test_an_event_costs_its_reader_one_step_and_the_receiver_none(
    talking, monkeypatch: pytest.MonkeyPatch, autojump_clock
) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read, name="the application")
        await wait_all_tasks_blocked()
        interrupted: list[object] = []
        monkeypatch.setattr(type(talk.near.standby()), "interrupt", interrupted.append)
        with counted_steps() as made:
            for word in MANY[:10]:
                await talk.say(word)
        assert [event.delta for event in of(read, Delta)] == MANY[:10]
        assert made["the application"] == 10
        assert made["receiver"] == 0
        assert not interrupted, "it is awake"
        nursery.cancel_scope.cancel()


async def test_or_the_receiver_one_while_the_application_is_away(talking, autojump_clock) -> None:
    async with talking() as talk:
        with counted_steps() as made:
            for word in MANY[:10]:
                await talk.say(word)
        assert talk.unread == 10
        assert made["receiver"] == 10


async def test_the_receiver_reads_while_the_application_is_away(talking, autojump_clock) -> None:
    async with talking() as talk:
        for _ in range(3):
            await talk.say(*MANY[:5])
            assert talk.unread == 5
            await talk.say(*MANY[5:7])
            assert talk.unread == 7
            assert [await talk.hear() for _ in range(7)] == MANY[:7]
            assert talk.unread == 0


async def test_it_takes_over_in_the_middle_of_a_burst(talking, autojump_clock) -> None:
    heard: list[str] = []

    async def look_in() -> None:
        heard.append(await talk.hear())

    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_in)
            await wait_all_tasks_blocked()
            await talk.say_at_once(MANY)
        assert heard == MANY[:1]
        assert talk.unread == len(MANY) - 1
        assert [await talk.hear() for _ in MANY[1:]] == MANY[1:]


async def test_it_sees_the_end_that_came_behind_what_the_application_has_read(
    talking, autojump_clock
) -> None:
    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.hear)
            await wait_all_tasks_blocked()
            talk.peer.socket.cork()
            await talk.say("Goodbye.")
            await talk.peer.close(1001, "enough")
            await talk.peer.socket.uncork()
        with trio.fail_after(1):
            await talk.session._core.closed.wait()
        assert talk.session.closed.code == 1001


@pytest.mark.parametrize("how", ["close", "reset", "drop"])
async def test_an_end_that_the_application_finds_is_told_as_ever(
    how: str, talking, autojump_clock
) -> None:
    found: list[Any] = []

    async def read_out() -> None:
        found.extend(await outcome(talk.session))

    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_out)
            await wait_all_tasks_blocked()
            if how == "close":
                await talk.peer.close(1001, "enough")
            elif how == "reset":
                await talk.peer.reset()
            else:
                await talk.peer.socket.drop()
        read, error = found
        reason = closing(read)
        assert reason.by is (ev.ClosedBy.PROVIDER if how == "close" else ev.ClosedBy.NETWORK)
        assert isinstance(error, errors.ConnectionReset)


async def test_what_a_lost_connection_still_says_is_not_heard(talking, autojump_clock) -> None:
    async with talking() as talk:
        core = talk.session._core
        link = core.link
        links._stalled(core, link, "the peer took nothing")
        links.hear(core, link, [compact(talk.peer.sent[-1]).encode()])
        read, error = await outcome(talk.session)
        assert core.stale_events == 1
        assert not of(read, Delta)
        assert isinstance(error, errors.TransportStalled)


# ---------------------------------------------------------------- who is woken


async def test_an_event_from_elsewhere_reaches_an_application_that_reads_the_socket(
    talking, autojump_clock
) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read)
        await wait_all_tasks_blocked()
        await talk.session.interrupt()
        await wait_all_tasks_blocked()
        assert of(read, ev.Interrupted)
        nursery.cancel_scope.cancel()


async def test_so_does_the_end_of_the_session(talking, autojump_clock) -> None:
    read: list[Any] = []
    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on, talk.session, read)
            await wait_all_tasks_blocked()
            await talk.session.aclose()
        assert closing(read).by is ev.ClosedBy.APPLICATION


async def test_so_does_the_news_that_there_is_another_connection(talking, autojump_clock) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read)
        await wait_all_tasks_blocked()
        lane = talk.session._core.events
        lane.draw_from(None)
        lane.put([ev.StoreFailed(message="of the new connection", retryable=True)])
        await wait_all_tasks_blocked()
        assert of(read, ev.StoreFailed)
        nursery.cancel_scope.cancel()


async def test_a_second_reader_is_told_so(talking, autojump_clock) -> None:
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.session.next_event)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await talk.session.next_event()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
async def test_whoever_only_looks_in_does_not_keep_the_receiver_from_reading(
    seconds: float, talking, autojump_clock
) -> None:
    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.words.send, "heard")
            event = None
            for _ in range(50):
                with trio.move_on_after(max(0.0, seconds)) as scope:
                    if seconds < 0:
                        scope.cancel()
                    event = event or await talk.session.next_event()
        if event is None:
            assert talk.unread == 1
            event = await talk.session.next_event()
        assert event.delta == "heard"


# ---------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("kind", [*KINDS, "lockstep"])
@pytest.mark.parametrize("seed", range(10))
async def test_however_it_is_read_everything_comes_once_and_in_order(
    seed: int, kind: str, tls, autojump_clock
) -> None:
    chance = random.Random(seed)
    heard: list[str] = []
    said: list[str] = []

    async def listen() -> None:
        while True:
            events: list[Any] = []
            with trio.move_on_after(chance.choice([0, 0.01, 0.1, 1])):
                if chance.random() < 0.3:
                    events = await talk.session.next_events()
                else:
                    events = [await talk.session.next_event()]
            heard.extend(event.delta for event in of(events, Delta))
            if chance.random() < 0.3:
                await trio.sleep(chance.choice([0, 0.01, 0.2]))

    async with open_talk(kind, tls) as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for round_ in range(40):
                words = [f"{round_}.{n} " for n in range(chance.choice([1, 1, 2, 200]))]
                said += words
                if chance.random() < 0.5:
                    await talk.say_at_once(words)
                else:
                    await talk.say(*words)
                if chance.random() < 0.2:
                    talk.session._core.events.put(
                        [ev.StoreFailed(message="from elsewhere", retryable=True)]
                    )
                await trio.sleep(chance.choice([0, 0.01, 0.1]))
            await trio.sleep(5)  # the server answers no ping meanwhile
            nursery.cancel_scope.cancel()
    assert heard == said


async def test_a_stream_that_cannot_be_shared_is_read_by_the_receiver_alone(
    monkeypatch: pytest.MonkeyPatch, tls, autojump_clock
) -> None:
    monkeypatch.setattr(WireStream, "standby", lambda _: None)
    read: list[Any] = []
    async with open_talk("memory", tls) as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read, name="the application")
        await wait_all_tasks_blocked()
        with counted_steps() as made:
            await talk.say("as ever")
        assert made["receiver"] == 1
        await talk.say_at_once(MANY)
        assert [event.delta for event in of(read, Delta)] == ["as ever", *MANY]
        nursery.cancel_scope.cancel()


async def test_a_bug_that_the_application_meets_there_is_the_session_s(
    monkeypatch: pytest.MonkeyPatch, talking, autojump_clock
) -> None:
    hear = links.hear
    broken = False

    def step(*args: Any) -> None:
        if broken:
            raise InjectedError("a bug")
        hear(*args)

    monkeypatch.setattr(links, "hear", step)
    read: list[Any] = []
    with pytest.raises(InjectedError, match="a bug"):
        async with talking() as talk:
            broken = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_on, talk.session, read)
                await wait_all_tasks_blocked()
                await talk.say("crash")
            raise AssertionError("the block was not cancelled")
    assert not of(read, Delta)
    assert talk.session.closed.text == "internal error: the receiver ended before the session"


async def test_an_interrupt_from_the_keyboard_is_the_application_s(talking, autojump_clock) -> None:
    async with talking() as talk, trio.open_nursery() as nursery:
        readers: list[trio.lowlevel.Task] = []

        async def application() -> None:
            readers.append(trio.lowlevel.current_task())
            with pytest.raises(KeyboardInterrupt):
                await talk.session.next_event()

        def press() -> None:
            raise KeyboardInterrupt

        nursery.start_soon(application)
        await wait_all_tasks_blocked()
        readers[0]._attempt_abort(press)  # as Trio does when Ctrl-C finds its main task asleep
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        await talk.say("and the receiver reads on")
        assert talk.unread == 1


@pytest.mark.parametrize("reader", ["the application", "the receiver"])
async def test_what_was_read_is_not_kept_while_nothing_more_comes(
    reader, heard, talking, autojump_clock
) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        if reader == "the application":
            nursery.start_soon(read_on, talk.session, read)
            await wait_all_tasks_blocked()
        await talk.say_at_once(MANY)
        assert sum(map(len, heard)) >= len(MANY)
        assert nobody_else_holds(heard)
        nursery.cancel_scope.cancel()


async def test_nor_is_what_told_us_nothing(heard, talking, autojump_clock) -> None:
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.session.next_event)
        await wait_all_tasks_blocked()
        await talk.peer.send(dict(NOTHING))
        await wait_all_tasks_blocked()
        assert heard
        assert nobody_else_holds(heard)
        nursery.cancel_scope.cancel()


async def test_a_burst_that_the_application_reads_is_heard_step_by_step(
    heard, talking, autojump_clock
) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read)
        await wait_all_tasks_blocked()
        await talk.say_at_once(MANY)
        assert max(map(len, heard)) <= FRAMES_PER_STEP
        assert [event.delta for event in of(read, Delta)] == MANY
        nursery.cancel_scope.cancel()


async def test_what_can_be_waited_for_apart_is(
    monkeypatch: pytest.MonkeyPatch, talking, autojump_clock
) -> None:
    received: list[object] = []
    receive = WebSocketTransport.receive

    async def noted(transport: WebSocketTransport) -> list[bytes]:
        received.append(transport)
        return await receive(transport)

    monkeypatch.setattr(WebSocketTransport, "receive", noted)
    async with talking() as talk, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        received.clear()
        nursery.start_soon(read_on, talk.session, [])
        await wait_all_tasks_blocked()
        await talk.say("one", "two")
        assert bool(received) is not talk.near.reads_alone
        nursery.cancel_scope.cancel()


async def test_a_descriptor_is_held_no_longer_than_the_connection(talking, autojump_clock) -> None:
    async with talking() as talk:
        standby = talk.near.standby()
        await talk.session.aclose()
        assert not standby.enter()
    if not isinstance(talk.near, WireStream):
        assert standby._epoll.closed


# ---------------------------------------------------------------- one reading, without a session


class Early:
    """A transport that has got something before anybody reads it, and then ends."""

    def __init__(self, *messages: bytes) -> None:
        self.messages = list(messages)

    def standby(self) -> Any:
        return self

    def arrival(self) -> None:
        return None

    def pending(self) -> bool:
        return True

    def enter(self) -> bool:
        return False

    async def stand_by(self) -> None:
        raise AssertionError("nobody would wake it")

    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if not self.messages:
            raise TransportClosed(1001, "enough", "peer")
        messages, self.messages = self.messages, []
        return messages


async def test_what_came_before_it_began_is_heard_at_once_and_in_order() -> None:
    early = [str(number).encode() for number in range(3 * FRAMES_PER_STEP + 1)]
    steps: list[list[bytes]] = []
    with pytest.raises(TransportClosed, match="1001"):
        await Reading(Early(*early), steps.append).run()
    assert [word for step in steps for word in step] == early
    assert [len(step) for step in steps] == [FRAMES_PER_STEP] * 3 + [1]
