"""A server in its own process that sends pre-built frames as fast as the socket takes them."""

from __future__ import annotations

import json
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from .frames import session_created, session_updated


def _serve(pipe: Connection, frames: list[bytes]) -> None:
    blob = b"".join(Frame(Opcode.TEXT, frame).serialize(mask=False) for frame in frames)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            peer, _ = listener.accept()
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    _converse(peer, blob)
                except OSError:
                    continue


def _converse(peer: socket.socket, blob: bytes) -> None:
    protocol = ServerProtocol(max_size=None)
    while True:
        for out in protocol.data_to_send():
            if out:
                peer.sendall(out)
        received = peer.recv(65536)
        if not received:
            return
        protocol.receive_data(received)
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
                protocol.send_text(json.dumps(session_created()).encode())
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                message = json.loads(bytes(event.data))
                if message["type"] == "session.update":
                    protocol.send_text(json.dumps(session_updated(message["session"])).encode())
                elif message["type"] == "response.create":
                    for out in protocol.data_to_send():
                        peer.sendall(out)
                    peer.sendall(blob)


@contextmanager
def serving(frames: list[bytes]) -> Iterator[str]:
    """Serve `frames`, once for each `response.create`, at the yielded URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, frames), daemon=True)
    process.start()
    try:
        yield f"ws://127.0.0.1:{ours.recv()}/v1/realtime"
    finally:
        process.kill()
        process.join()
