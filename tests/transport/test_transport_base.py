"""Targets are checked where they are made, and say nothing secret about themselves."""

from __future__ import annotations

import pytest

from meerkat_rt.transport import (
    TrioWebSocketConnector,
    WebSocketConnector,
    WebSocketTarget,
    connector,
)


@pytest.mark.parametrize(
    "url",
    [
        "http://peer.test/",
        "peer.test/realtime",
        "ws:///path",
        "ws://user:password@peer.test/",
        "ws://user@peer.test/",
        "ws://peer.test/#fragment",
        "ws://peer.test/a b",
        "ws://peer.test/\r\nX-Evil: 1",
        "ws://peer.test/grüße",
        "ws://peer.test:65536/",
        "ws://peer.test:0/",
        "ws://peer.test:eighty/",
        "ws://" + "x" * 64 + ".test/",
        "ws://a..test/",
        "ws://[::1/",
        "",
    ],
)
def test_a_url_that_no_websocket_has(url):
    with pytest.raises(ValueError, match=r".+"):
        WebSocketTarget(url=url)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nX-Evil: 1"},
        {"X-A\r\nX-Evil": "1"},
        {"X A": "1"},
        {"": "1"},
        {"X-A": "naïve"},
        {"Host": "elsewhere"},
        {"upgrade": "h2c"},
        {"Connection": "close"},
        {"Sec-WebSocket-Key": "x"},
        {"sec-websocket-protocol": "realtime"},
    ],
)
def test_a_header_that_may_not_be_sent(headers):
    with pytest.raises(ValueError, match="header"):
        WebSocketTarget(url="ws://peer.test", headers=headers)


def test_a_bad_header_value_is_not_shown():
    with pytest.raises(ValueError, match="Authorization") as caught:
        WebSocketTarget(url="ws://peer.test", headers={"Authorization": "Bearer secrét"})
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_fits_no_message(size):
    with pytest.raises(ValueError, match="max_message_size"):
        WebSocketTarget(url="ws://peer.test", max_message_size=size)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "resource"),
    [
        ("ws://Peer.test", "peer.test", 80, "peer.test", "/"),
        ("wss://peer.test/a?b=c&d", "peer.test", 443, "peer.test", "/a?b=c&d"),
        ("wss://peer.test:80/", "peer.test", 80, "peer.test:80", "/"),
        ("ws://[2001:db8::1]:81/", "2001:db8::1", 81, "[2001:db8::1]:81", "/"),
    ],
)
def test_the_parts_of_a_target(url, host, port, authority, resource):
    target = WebSocketTarget(url=url)
    assert target.secure == url.startswith("wss")
    assert (target.host, target.port) == (host, port)
    assert (target.authority, target.resource) == (authority, resource)


def test_a_target_shows_no_key():
    target = WebSocketTarget(
        url="wss://peer.test/live?key=secret", headers={"Authorization": "Bearer secret"}
    )
    assert "secret" not in repr(target)
    assert "wss://peer.test/live" in repr(target)


def test_connectors_have_names():
    assert isinstance(connector(), WebSocketConnector)
    assert isinstance(connector("websockets"), WebSocketConnector)
    assert isinstance(connector("trio-websocket"), TrioWebSocketConnector)
    assert [connector(name).name for name in ("websockets", "trio-websocket")] == [
        "websockets",
        "trio-websocket",
    ]


def test_a_connector_that_there_is_not():
    with pytest.raises(ValueError, match=r"'aiohttp'.*'websockets', 'trio-websocket'"):
        connector("aiohttp")
