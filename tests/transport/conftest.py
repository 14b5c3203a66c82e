"""The three transports, and what each can do."""

from __future__ import annotations

import functools

import pytest
import trustme
from support.sockets import contexts
from transport_peers import open_rig

WITH_FRAMES = ("websockets", "trio-websocket")


@pytest.fixture(params=[*WITH_FRAMES, "memory"])
def kind(request):
    """The name of a transport: a test that uses it, or `rig`, runs once for each."""
    return request.param


@pytest.fixture
def framed(kind):
    """The same, for what only a transport made of bytes and frames can do."""
    if kind not in WITH_FRAMES:
        pytest.skip(f"{kind} has no frames")
    return kind


@pytest.fixture
def open_kind(kind, nursery):
    """Opens a rig of this kind, with arguments of the test's own."""
    return functools.partial(open_rig, kind, nursery)


@pytest.fixture
async def rig(open_kind):
    """A transport and its peer, connected."""
    return await open_kind()


@pytest.fixture(scope="session")
def authority():
    """A certificate authority of our own."""
    return trustme.CA()


@pytest.fixture(scope="session")
def tls(authority):
    """(the context of the server peer.test, the context of a client that trusts it)."""
    return contexts(authority)
