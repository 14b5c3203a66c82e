"""A WebSocket by hand, for the subjects that are to have no client at all."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from urllib.parse import urlsplit

BUFFER = 1 << 20


def connect(url: str, units: int) -> tuple[socket.socket, bytes]:
    """Open a WebSocket and read the first event; returns what came behind that."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "wss":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {parts.path}?model=bench-{units} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    data = data[data.index(b"\r\n\r\n") + 4 :]
    while len(data) < 4 or len(data) < int.from_bytes(data[2:4], "big") + 4:
        data += sock.recv(65536)  # session.created, whose length takes two bytes
    return sock, data[int.from_bytes(data[2:4], "big") + 4 :]


def ask(sock: socket.socket) -> None:
    """Ask for the answer."""
    text = b'{"type":"response.create"}'
    sock.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)  # masked with zeros
