"""Where clients come in: each protocol has a door, and the path of the request says which."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import attrs

from ..model import checks as check
from ..model.errors import InvalidConfig
from .faults import INVALID_REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .brain import BrainRequest, Reply
    from .effects import Effect


@attrs.frozen(kw_only=True)
class AccessPolicy:
    """What a server accepts.

    `token` is the key that clients must show (None: anybody).  `models` are the models that exist
    (None: any name).  `calls` maps the ids of calls that may be attached to onto their models.
    """

    token: str | None = attrs.field(default=None, repr=False)
    models: frozenset[str] | None = attrs.field(default=None)
    calls: Mapping[str, str] = attrs.field(factory=dict, validator=check.json_object)

    @token.validator
    def _is_text(self, _attribute: object, token: object) -> None:
        if token is not None and not isinstance(token, str):  # which is not shown
            kind = type(token).__name__
            raise InvalidConfig(f"AccessPolicy.token is {kind}; allowed: a string, or None")

    @models.validator
    def _is_set(self, attribute: attrs.Attribute[Any], models: object) -> None:
        # Every part of a string would be a model.
        if models is not None and (isinstance(models, str) or not isinstance(models, Collection)):
            check.refuse(self, attribute.name, models, "a set of names, or None")

    def accepts(self, shown: Iterable[str]) -> bool:
        """Whether one of the keys that a client shows is the right one."""
        if self.token is None:
            return True
        expected = self.token.encode()
        return any(hmac.compare_digest(key.encode(), expected) for key in shown)


@attrs.frozen(kw_only=True)
class Refusal:
    """Why a connection is closed right after its upgrade."""

    code: str
    message: str
    close_code: int
    kind: str = INVALID_REQUEST
    reason: str = ""

    @property
    def close_reason(self) -> str:
        """The text of the close frame."""
        return self.reason or f"{self.kind}.{self.code}"


class SessionEngine(Protocol):
    """The rules of one session, as a connection drives them.

    A machine without clock, tasks or I/O: after each call the connection takes `outgoing` (messages
    to send) and `effects` (work to do).  Nothing here raises for what a client sends.
    """

    outgoing: list[dict[str, Any]]
    effects: list[Effect]

    def open(self) -> None:
        """The client has been let in; the first call."""
        ...

    def refuse(self, refusal: Refusal) -> None:
        """The client has not been let in: say why, and close.  Called in place of `open`."""
        ...

    def alarms(self) -> Sequence[tuple[float, Callable[[], None]]]:
        """Steps to take at an age of the session, in seconds; asked for once, after `open`."""
        ...

    def receive(self, frame: str | bytes) -> None:
        """Handle one frame from the client."""
        ...

    def examine(self) -> bool:
        """Listen to a little of the audio that came; whether there is more."""
        ...

    def broken(self) -> None:
        """A step failed by a bug of ours: say so, as the protocol does."""
        ...

    def brain_request(self, response_id: str) -> BrainRequest | None:
        """What the brain gets to see; None when the response has ended meanwhile."""
        ...

    def answer(self, response_id: str, replies: Sequence[Reply]) -> None:
        """The brain has answered; `advance` streams it."""
        ...

    def advance(self, response_id: str) -> float | None:
        """Stream the next piece of a response; its seconds, or None when there is none."""
        ...

    def fail(self, response_id: str, message: str) -> None:
        """The brain could not answer."""
        ...

    def recognized(self, item_id: str, text: str) -> None:
        """The recognizer is done with an item."""
        ...

    def recognition_failed(self, item_id: str, code: str, message: str) -> None:
        """The recognizer could not make out an item."""
        ...

    def ended(self) -> None:
        """The connection is gone; the last call."""
        ...


@attrs.frozen(kw_only=True)
class Upgrade:
    """What a client asks for with its upgrade request; header names are in lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    subprotocols: tuple[str, ...]

    @classmethod
    def of(
        cls, target: str, headers: Iterable[tuple[bytes, bytes]], subprotocols: Iterable[str]
    ) -> Upgrade:
        """The parts of a request; of a target that is no URL the path is empty."""
        try:
            parts = urlsplit(target)
        except ValueError:  # brackets that enclose no address
            parts = urlsplit("")
        return cls(
            path=parts.path,
            query={key: values[-1] for key, values in parse_qs(parts.query).items()},
            headers={
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers
            },
            subprotocols=tuple(subprotocols),
        )


@attrs.frozen(kw_only=True)
class Entry:
    """What a connection is to become; `refusal` is set when it is to be closed instead.

    `engine` makes its session from the prefix of its ids.  `binary`: messages are sent as binary
    frames, else as text.
    """

    engine: Callable[[str], SessionEngine]
    subprotocol: str | None = None
    refusal: Refusal | None = None
    binary: bool = False


class Door(Protocol):
    """The way in to one protocol."""

    @property
    def path(self) -> str:
        """Where it is, for people and for `EmbeddedServer`'s addresses."""
        ...

    def admit(self, upgrade: Upgrade, *, full: bool) -> Entry | None:
        """Decide about a request; None: it is not for this door.

        `full`: the server has as many sessions as it can hold.
        """
        ...
