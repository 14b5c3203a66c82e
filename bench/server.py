"""A server in its own process that sends frames built beforehand.

It speaks as much of the protocol as every client needs to come to its first answer: it confirms the
configuration and the items it is given, and the first `response.create` of a connection lets go
what the URL asks for.  The model's name says how much: `bench-64` is 64 units.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import attrs
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from . import frames, processors
from .subjects import LAST_WORD
from .workloads import Workload

_MODEL = re.compile(r"bench-(\d+)(?:-([a-z]+))?")
_CREATED = b'{"type":"response.created"'
CLOCK = 10**14  # nanoseconds after which the time in an event's id begins again
PAUSE = 0.05  # seconds between two turns of a paced delivery
SLACK = 0.002  # seconds; who is later than that does not catch up: a burst is no pace


@attrs.frozen(kw_only=True)
class Pace:
    """Deliver to `sessions` connections at once, `rate` events a second each, for `seconds`.

    The events of all sessions are spread evenly over the time.  The connections of each of `groups`
    have their turn, `rounds` times.  The model's name ends in the group's.
    """

    sessions: int
    rate: float
    seconds: float
    rounds: int
    groups: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Certificate:
    """Files of a certificate for localhost, and of the authority that signed it."""

    chain: str
    key: str
    authority: str


@attrs.define(eq=False)
class _Client:
    """One connection: the sans-I/O protocol over a blocking socket."""

    sock: socket.socket
    prepare: Callable[[int], object]
    units: int = 1
    group: str = ""
    protocol: ServerProtocol = attrs.field(factory=lambda: ServerProtocol(max_size=None))

    def flush(self) -> None:
        for out in self.protocol.data_to_send():
            if out:
                self.sock.sendall(out)

    def say(self, frame: frames.Frame) -> None:
        text = frames.dump(frame).replace(b"@EVENT@", b"server")
        if self.protocol.state is State.OPEN:  # a client that has its answer may be leaving
            self.protocol.send_text(text)

    def until_response(self) -> frames.Frame | None:
        """Serve until a response is asked for; returns that request, None at the end."""
        while True:
            self.flush()
            if self.protocol.state is not State.OPEN and self.protocol.close_rcvd is not None:
                return None  # the client waits for the end of TCP
            received = self.sock.recv(65536)
            if not received:
                return None
            self.protocol.receive_data(received)
            for event in self.protocol.events_received():
                if isinstance(event, Request):
                    self.protocol.send_response(self.protocol.accept(event))
                    asked = _MODEL.search(event.path)
                    if asked:
                        self.units, self.group = int(asked[1]), asked[2] or ""
                    self.prepare(self.units)
                    self.say(frames.session_created())
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    asked_for = self._answer(json.loads(bytes(event.data)))
                    if asked_for is not None:
                        self.flush()
                        return asked_for

    def _answer(self, message: frames.Frame) -> frames.Frame | None:
        kind = message["type"]
        if kind == "session.update":
            self.say(frames.session_updated(message["session"]))
        elif kind == "conversation.item.create":
            item = {"id": "item_000000000000", "status": "completed", **message["item"]}
            self.say(frames.event("conversation.item.added", previous_item_id=None, item=item))
        elif kind == "input_audio_buffer.commit":
            item_id = "item_000000000000"
            self.say(
                frames.event("input_audio_buffer.committed", previous_item_id=None, item_id=item_id)
            )
        elif kind == "response.create":
            return message
        return None


class _Burst:
    """As fast as the socket takes it."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._blob = b""
        self._ends: list[int] = [0]  # where each unit ends
        self._lock = threading.Lock()
        self._answers = 0  # to requests beyond the first of a connection

    def prepare(self, units: int) -> None:
        """Have the frames of that many units ready."""
        with self._lock:
            if len(self._ends) > units:
                return
            framed = [_framed(message) for message in self._workload.messages(units)]
            sizes = itertools.accumulate(map(len, framed))
            self._ends = [
                0,
                *itertools.islice(sizes, self._workload.events - 1, None, self._workload.events),
            ]
            self._blob = b"".join(framed)

    def serve(self, client: _Client) -> None:
        """Answer a connection until it ends.

        The first request is answered with what was asked for; whoever asks for more, such as a
        client that has called the tools itself, gets the last word.
        """
        begun = False
        while (request := client.until_response()) is not None:
            metadata = _metadata(request)
            if begun:
                client.sock.sendall(b"".join(map(_framed, self._last_word(metadata))))
                continue
            begun = True
            blob = memoryview(self._blob)[: self._ends[client.units]]
            if metadata:
                for message in self._workload.messages(1):
                    blob = blob[_frame_size(blob) :]
                    client.sock.sendall(_framed(_answering(message, metadata)))
                    if message.startswith(_CREATED):
                        break
            client.sock.sendall(blob)

    def _last_word(self, metadata: frames.Frame | None) -> list[bytes]:
        self._answers += 1
        kind = frames.TRANSCRIPT if self._workload.modality == "audio" else frames.TEXT
        number = b"99%010d" % self._answers  # no unit's
        messages = []
        for index, frame in enumerate(frames.answer([(kind, LAST_WORD)], metadata=metadata)):
            text = frames.dump(frame).replace(b"@EVENT@", b"%s_%d" % (number, index))
            for placeholder in (b"@RESPONSE@", b"@ITEM@", b"@PREVIOUS@"):
                text = text.replace(placeholder, number)
            messages.append(text)
        return messages


class _Paced:
    """Deltas of one endless response to each connection, with the time of sending in their id.

    The groups of `Pace` have their turns, one after the other and again, so that whatever slows the
    machine slows each of them; while one is served, the others idle.
    """

    def __init__(self, workload: Workload, pace: Pace) -> None:
        self._pace = pace
        messages = list(workload.messages(1))
        deltas = [index for index, message in enumerate(messages) if b'.delta"' in message[:60]]
        self._head = messages[: deltas[0]]
        self._delta = bytearray(_framed(messages[deltas[0]]))
        self._at = self._delta.index(b':"event_') + len(b':"event_')
        # Without the whole text, which would be another one than that of the deltas.
        self._tail = [
            message
            for message in messages[deltas[-1] + 1 :]
            if b'transcript.done"' not in message[:60]
        ]
        self._ready: dict[str, list[_Client]] = {group: [] for group in pace.groups}
        self._changed = threading.Condition()

    def prepare(self, units: int) -> None:
        """Nothing: one response goes on for ever."""

    def serve(self, client: _Client) -> None:
        """Begin the answer and leave the rest to `run`."""
        request = client.until_response()
        if request is None:
            return
        metadata = _metadata(request)
        head = (_answering(message, metadata) for message in self._head)
        client.sock.sendall(b"".join(map(_framed, head)))
        with self._changed:
            self._ready[client.group].append(client)
            self._changed.notify_all()
        client.until_response()

    def run(self) -> None:
        """Wait for all connections, and deliver."""
        pace = self._pace
        with self._changed:
            self._changed.wait_for(
                lambda: all(len(ready) >= pace.sessions for ready in self._ready.values())
            )
        time.sleep(0.5)  # let the last of them settle
        for turn in range(pace.rounds):
            for clients in self._ready.values():
                self._deliver(clients, turn)
                time.sleep(PAUSE)
        for clients in self._ready.values():
            for client in clients:
                self._send(client, b"".join(map(_framed, self._tail)))

    def _deliver(self, clients: list[_Client], turn: int) -> None:
        pace, frame, at = self._pace, self._delta, self._at
        step = 1 / (pace.rate * len(clients))
        start, sent = time.monotonic(), 0
        for _ in range(round(pace.rate * pace.seconds)):
            for client in clients:
                wait = start + sent * step - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                elif wait < -SLACK:
                    start -= wait
                frame[at : at + 16] = b"%02d%014d" % (turn, time.monotonic_ns() % CLOCK)
                self._send(client, frame)
                sent += 1

    def _send(self, client: _Client, data: bytes | bytearray) -> None:
        with contextlib.suppress(OSError):  # it has gone: its own process says so
            client.sock.sendall(data)


def _metadata(request: frames.Frame) -> frames.Frame | None:
    """What a client wrote into its request, to know the response by."""
    return (request.get("response") or {}).get("metadata")


def _answering(message: bytes, metadata: frames.Frame | None) -> bytes:
    """The message; if a response begins with it, one that repeats what its request said."""
    if metadata is None or not message.startswith(_CREATED):
        return message
    first = json.loads(message)
    first["response"]["metadata"] = metadata
    return frames.dump(first)


def _framed(message: bytes) -> bytes:
    return Frame(Opcode.TEXT, message).serialize(mask=False)


def _frame_size(blob: memoryview) -> int:
    short = blob[1] & 127
    if short < 126:
        return 2 + short
    width = 2 if short == 126 else 8
    return 2 + width + int.from_bytes(blob[2 : 2 + width], "big")


def _serve(
    pipe: Connection, workload: Workload, pace: Pace | None, certificate: Certificate | None
) -> None:
    processors.leave()
    service: _Burst | _Paced
    if pace is None:
        service = _Burst(workload)
    else:
        service = _Paced(workload, pace)
        threading.Thread(target=service.run, daemon=True).start()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)

    def serve(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock = peer if context is None else context.wrap_socket(peer, server_side=True)
            with sock:
                service.serve(_Client(sock, service.prepare))
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=serve, args=(peer,), daemon=True).start()


@contextmanager
def serving(
    workload: Workload, *, pace: Pace | None = None, certificate: Certificate | None = None
) -> Iterator[str]:
    """Serve `workload` at the yielded URL, which lacks the query."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, workload, pace, certificate), daemon=True
    )
    process.start()
    theirs.close()  # a server that does not come up is the end of the pipe then
    scheme = "ws" if certificate is None else "wss"
    try:
        yield f"{scheme}://localhost:{ours.recv()}/v1/realtime"
    finally:
        process.kill()
        process.join()
