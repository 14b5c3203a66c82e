"""What wants the program to stop, raised anywhere: it comes out as it is, and nothing is left."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from continuitykit import MANAGED, calling
from runtimekit import closing, linger, of, one_turn, open_config, outcome, serving, take, welcoming
from trio.testing import MockClock

from meerkat_rt import (
    EmbeddedGemini,
    EmbeddedProvider,
    OpenAIRealtime,
    Provider,
    RealtimeTextChunk,
    SessionLlmIdentity,
    events,
    open_session,
)
from meerkat_rt import RealtimeSessionOpenConfig as OpenConfig
from meerkat_rt.recording import FlightRecorder
from meerkat_rt.storage import MemoryStore, SqliteStore
from meerkat_rt.testing import quiescent_after
from meerkat_rt.transport import connector
from meerkat_rt.turn.machine import SessionMachine

each_stop = pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])


class Trap:
    """A store, a recorder and tools, one of which wants the program to stop."""

    def __init__(self, stop, where):
        self.stop, self.where = stop, where
        self.sprung = 0
        self.store = TrappedStore(self)
        self.recorder = TrappedRecorder(self)

    def at(self, place):
        if place == self.where and not self.sprung:
            self.sprung += 1
            raise self.stop("now")


class TrappedStore(MemoryStore):
    def __init__(self, trap):
        super().__init__()
        self._trap = trap

    @asynccontextmanager
    async def open(self, session_id, **options):
        self._trap.at("store opens")
        async with super().open(session_id, **options) as journal:
            try:
                yield TrappedJournal(journal, self._trap)
            finally:
                self._trap.at("store closes")


class TrappedJournal:
    def __init__(self, journal, trap):
        self._journal, self._trap = journal, trap
        self.restored = journal.restored

    async def commit(self, batch):
        await trio.lowlevel.checkpoint()
        self._trap.at("store writes")
        return await self._journal.commit(batch)


class TrappedRecorder:
    def __init__(self, trap):
        self._trap = trap

    @contextmanager
    def begin(self):
        self._trap.at("recorder begins")
        try:
            yield self
        finally:
            self._trap.at("recorder ends")

    def machine(self, settings):
        self._trap.at("machine")
        return SessionMachine(settings)

    def wire(self, now, *, received=0, sent=0):
        self._trap.at("received" if received else "sent")

    def closed(self, reason):
        self._trap.at("closed")


async def use(session, trap):
    """What an application does with its session."""
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, events.TurnCompleted, events.MessageCommitted)
    trap.at("body")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle, trap)
    await session.aclose()
    trap.at("body, after the close")


async def idle(trap):
    await trio.sleep(0.1)
    trap.at("task of the body")


@each_stop
@pytest.mark.parametrize(
    "where",
    [
        *("store opens", "store writes", "store closes"),
        *("recorder begins", "machine", "received", "sent", "closed", "recorder ends"),
        *("body", "body, after the close"),
    ],
)
async def test_what_stops_the_program_comes_out_as_it_is(stop, where, autojump_clock):
    trap = Trap(stop, where)
    beside = {"store": trap.store, "recorder": trap.recorder}
    with quiescent_after():
        async with serving(welcoming(one_turn), client_may_leave=True) as server:
            with pytest.raises(stop, match="now"):
                async with server.open(beside=beside) as session:
                    await use(session, trap)
            if where in ("recorder begins", "machine", "store opens"):
                await server.wire.client.aclose()  # it was never dialled
    assert trap.sprung == 1


@each_stop
async def test_a_stop_in_a_task_of_the_application_comes_in_the_group_of_its_own_nursery(
    stop, autojump_clock
):
    trap = Trap(stop, "task of the body")
    with quiescent_after():
        async with serving(welcoming(one_turn), client_may_leave=True) as server:
            with pytest.raises(BaseExceptionGroup) as caught:
                async with server.open() as session:
                    await use(session, trap)
    (only,) = caught.value.exceptions
    assert type(only) is stop


@each_stop
async def test_a_stop_while_it_connects_leaves_nothing(stop, autojump_clock):
    dialled = []

    async def open_stream(_host, _port):
        await trio.lowlevel.checkpoint()
        dialled.append(trio.current_time())
        raise stop("now")

    provider = OpenAIRealtime(
        api_key="k",
        base_url="ws://peer/v1/realtime",
        connector=connector("websockets", open_stream=open_stream),
    )
    with quiescent_after():
        with pytest.raises(stop, match="now"):
            async with open_session(open_config(), provider=provider):
                raise AssertionError("it opened")
    assert len(dialled) == 1


@each_stop
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_stop_in_a_tool_is_not_taken_for_its_outcome(stop, kind, virtual_time):
    def sync_tool() -> str:
        raise stop("now")

    async def async_tool() -> str:
        raise stop("now")

    tool = sync_tool if kind == "sync" else async_tool

    async def script(peer):
        await peer.tool_call_response((tool.__name__, {}))
        await linger(peer)

    with quiescent_after():
        async with serving(welcoming(script), client_may_leave=True) as server:
            with pytest.raises(stop, match="now"):
                async with server.open(tools=[tool]) as session:
                    await take(session, events.SessionClosed)


async def stubborn() -> str:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)
    return "at last"


@each_stop
@pytest.mark.parametrize("where", ["a tool", "store writes"])
async def test_a_stop_does_not_wait_unnoticed_for_a_tool_that_does_not(stop, where, autojump_clock):
    """The session closes at once, and says what it waits for."""
    trap = Trap(stop, where)

    async def springs() -> str:
        trap.at("a tool")
        return "nothing"

    async def script(peer):
        await peer.tool_call_response(("stubborn", {}), ("springs", {}))
        await trio.sleep(0.1)
        await peer.text_response("Hello.")
        await linger(peer)

    read = []
    async with serving(welcoming(script), client_may_leave=True, patience=100) as server:
        with pytest.raises(stop, match="now"):
            async with server.open(
                tools=[springs, stubborn], beside={"store": trap.store}
            ) as session:
                while not of(read, events.ToolUnresponsive):
                    read.append(await session.next_event())
                told = trio.current_time()
    assert told < 2
    left, _ = await outcome(session)
    assert closing(read + left).unresponsive_tools != ()


@each_stop
async def test_a_stop_while_another_connection_is_made_comes_out_as_it_is(stop, autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    with quiescent_after():
        with pytest.raises(stop, match="now"):
            async with calling(first, stop("now")) as call:
                await call.until(events.SessionClosed)


@pytest.fixture
def control_c():
    """Ctrl-C raises, as at a terminal; who starts the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("control_c")
@pytest.mark.parametrize("where", ["reading", "closing", "opening"])
def test_control_c_comes_out_of_a_session_wherever_it_is(where):
    async def script(peer):
        if where == "opening":
            await trio.sleep_forever()
        await peer.welcome()
        await linger(peer)

    async def main():
        with quiescent_after():
            async with serving(script, client_may_leave=True) as server:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(strike)
                    with pytest.raises(KeyboardInterrupt):
                        async with server.open() as session:
                            reached.append("reading")
                            if where == "reading":
                                await take(session, events.SessionClosed)
                            server.wire.stop_reading()  # so that the close takes its whole grace
                            await trio.sleep_until(1.9)
                            reached.append("closing")
                    assert trio.current_time() <= 2.25

    async def strike():
        await trio.sleep(2)
        # Where no task runs, so that Trio gives it to the main one.
        token = trio.lowlevel.current_trio_token()
        token.run_sync_soon(signal.raise_signal, signal.SIGINT)

    reached = ["opening"]
    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert reached[-1] == where


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "with store and recorder"])
@pytest.mark.parametrize("kind", [EmbeddedProvider, EmbeddedGemini])
@pytest.mark.parametrize(
    "mine",
    [
        KeyboardInterrupt("mine"),
        SystemExit("mine"),
        GeneratorExit("mine"),
        StopIteration("mine"),
        StopAsyncIteration("mine"),
        BaseExceptionGroup("mine", [KeyError("x"), KeyboardInterrupt("y")]),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_whatever_a_block_raises_comes_out_of_it_as_it_is(mine, kind, kept, tmp_path):
    which = Provider.GEMINI if kind is EmbeddedGemini else Provider.OPENAI
    config = OpenConfig(MANAGED, SessionLlmIdentity(model="embedded", provider=which))
    beside = {}
    if kept:
        beside["store"] = SqliteStore(tmp_path / "x.db", sync=False)
        beside["recorder"] = FlightRecorder(tmp_path / "x.rec")
    with quiescent_after(), trio.fail_after(20):
        with pytest.raises(type(mine)) as caught:
            async with open_session(config, provider=kind(), **beside) as session:
                await session.send_input(RealtimeTextChunk("hello"))
                raise mine
    assert caught.value is mine
    assert mine.__context__ is None
    assert not hasattr(mine, "__notes__")
