"""A small program that has nothing to do with speech, with mistakes to choose from.

A courier delivers parcels over a stream and gets a receipt for each, says goodbye when it leaves
and waits a little for the answer.  Its link to the depot lives in a task of its own, shielded,
because a goodbye needs a reader and a writer that the cancellation has not killed.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress

import trio

from meerkat_rt.testing import Case

GRACE = 2.0  # seconds that a goodbye may take

MISTAKES = {
    "leak-task": "the clock is started in somebody else's nursery",
    "swallow": "a Cancelled is caught and forgotten",
    "unshielded-goodbye": "the wait for the goodbye is cancelled with everything else",
    "endless-goodbye": "the wait for the goodbye has a shield and no deadline",
    "shield-before-started": "the link shields itself before it has reported that it started",
    "leak-channel": "one end of a channel is closed on the happy way only",
    "leak-descriptor": "a file is closed on the happy way only",
    "cut-parcel": "the writer is cancelled in the middle of a line, then the goodbye is written",
    "naive-writer": "a broken stream escapes from the writer",
    "stale-count": "a number is read before a checkpoint and used after it",
}


class Depot:
    """The other end: gives receipts and answers the goodbye."""

    def __init__(self, stream, *, polite=True):
        self.stream = stream
        self.polite = polite
        self.lines = []

    async def run(self):
        rest = b""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self.stream:
                while data := await self.stream.receive_some():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self.lines.append(line.decode())
                        await self.answer(line)

    async def answer(self, line):
        if line == b"bye":
            if self.polite:
                await self.stream.send_all(b"bye\n")
        else:
            if line != b"parcel third":
                await trio.sleep(0.1)
            await self.stream.send_all(b"receipt\n")


class Courier:
    def __init__(self, log, mistake):
        self.log = log
        self.mistake = mistake
        self.delivered = 0
        self.out_send, self.out_receive = trio.open_memory_channel(4)
        self.receipt_send, self.receipt_receive = trio.open_memory_channel(4)

    async def deliver(self, name):
        await self.out_send.send(name)
        async for _receipt in self.receipt_receive:
            if self.mistake == "stale-count" and name == "second":
                count = self.delivered
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                self.delivered = count + 1
            else:
                self.delivered += 1
            return

    async def writer(self, stream, *, goodbye=True):
        try:
            async for name in self.out_receive:
                await stream.send_all(f"parcel {name}\n".encode())
            if goodbye:
                await stream.send_all(b"bye\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self.mistake == "naive-writer":
                raise

    async def reader(self, stream):
        rest = b""
        with self.receipt_send, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await stream.receive_some():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line == b"bye":
                        return
                    await self.receipt_send.send(line)

    async def clock(self):
        while True:
            await trio.sleep(1)
            self.log.append(("tick",))

    async def link(self, stream, done, *, task_status):
        with trio.CancelScope() as scope:
            async with stream, trio.open_nursery() as nursery:
                if self.mistake == "shield-before-started":
                    scope.shield = True
                nursery.start_soon(self.reader, stream)
                if self.mistake != "cut-parcel":
                    nursery.start_soon(self.writer, stream)
                task_status.started(scope)
                await trio.lowlevel.checkpoint_if_cancelled()
                scope.shield = True
        done.set()

    def close(self):
        for end in (self.out_send, self.out_receive, self.receipt_send, self.receipt_receive):
            if end is not self.receipt_receive or self.mistake != "leak-channel":
                end.close()


@asynccontextmanager
async def open_courier(stream, log, *, outer, mistake=None):
    courier = Courier(log, mistake)
    diary = os.open(os.devnull, os.O_RDONLY)
    try:
        async with trio.open_nursery() as nursery:
            done = trio.Event()
            link = await nursery.start(courier.link, stream, done)
            log.append(("opened",))
            try:
                async with trio.open_nursery() as workers:
                    if mistake == "cut-parcel":
                        workers.start_soon(lambda: courier.writer(stream, goodbye=False))
                    (outer if mistake == "leak-task" else workers).start_soon(courier.clock)
                    yield courier
                    workers.cancel_scope.cancel()
                if mistake == "leak-channel":
                    courier.receipt_receive.close()
                if mistake == "leak-descriptor":
                    os.close(diary)
            finally:
                try:
                    courier.out_send.close()
                    with closing_scope(mistake):
                        if mistake == "cut-parcel":
                            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                                await stream.send_all(b"bye\n")
                        await done.wait()
                finally:
                    link.cancel()
    except BaseException:
        if mistake != "swallow":
            raise
    finally:
        stream.close()
        courier.close()
        if mistake != "leak-descriptor":
            os.close(diary)
        log.append(("closed",))


def closing_scope(mistake):
    if mistake == "unshielded-goodbye":
        return trio.move_on_after(GRACE)
    if mistake == "endless-goodbye":
        return trio.CancelScope(shield=True)
    return trio.CancelScope(shield=True, relative_deadline=GRACE)


def round_trip(mistake=None, *, wire="memory", polite=True):
    """The scenario: three parcels, the last two at once, and home."""

    async def scenario(trial):
        link = trial.wire(wire)
        depot = Depot(link.server, polite=polite)
        trial.keep.depot = depot
        trial.action("drop", link.drop, ends=True)
        async with trio.open_nursery() as outer:
            outer.start_soon(depot.run)
            with trial.region():
                async with open_courier(
                    link.client, trial.log, outer=outer, mistake=mistake
                ) as courier:
                    await courier.deliver("first")
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(courier.deliver, "second")
                        nursery.start_soon(courier.deliver, "third")
                    trial.note("delivered", courier.delivered)
            outer.cancel_scope.cancel()

    return scenario


def verify(trial):
    """The courier says goodbye whenever it can, and counts right."""
    opened = ("opened",) in trial.log
    assert trial.log.count(("closed",)) <= 1
    if opened:
        assert ("closed",) in trial.log, "opened and never closed"
        if trial.injected != "drop" and trial.keep.depot.lines[-1:] != ["bye"]:
            yield f"no goodbye: the depot saw {trial.keep.depot.lines}"
    if trial.injected is None and ("delivered", 3) not in trial.log:
        yield f"miscounted: {trial.log}"


CASES = {
    mistake: Case.of(round_trip(mistake), name=mistake, verify=verify, unwind=GRACE)
    for mistake in MISTAKES
}
