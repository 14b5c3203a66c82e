"""A whole conversation as a provider sent it: turns, tool calls, a barge-in.

`python -m bench.trace FILE` records one with the embedded provider, and what `meerkat-rt talk` says
to it.  Sound is kept as the length of its base64; everything else stands as it was on the wire.
Played back, every session has ids of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import trio

from . import frames

FILE = Path(__file__).with_name("trace.jsonl")
_NAMED = re.compile(r'"((?:item|resp|call)_)([0-9a-f]{8,})"')
_SOUND = re.compile(r'"delta":"<(\d+)>"')


@cache
def unit() -> tuple[bytes, ...]:
    """The frames of the conversation, with placeholders for ids as in `bench.frames`."""
    return tuple(map(_frame, FILE.read_text(encoding="utf-8").splitlines()))


def _frame(line: str) -> bytes:
    text = _SOUND.sub(lambda found: f'"delta":"{frames.speech(int(found[1]))}"', line)
    return text.encode()


def _kept(message: bytes) -> str | None:
    event = json.loads(message)
    if event["type"] in ("session.created", "session.updated"):
        return None  # every client has a handshake of its own
    event["event_id"] = "event_@EVENT@"
    if event["type"] == frames.AUDIO:
        # In whole groups of 4, without padding: what stands for it is cut from endless base64.
        event["delta"] = f"<{len(event['delta']) // 4 * 4}>"
    text = frames.dump(event).decode()
    # A name of its own in each session: ids are those of the provider, made longer.
    return _NAMED.sub(r'"\1\2x@RESPONSE@"', text)


class _Tap:
    """A connector whose connections keep what they receive."""

    name = "websockets"

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def connect(self, target, *, nursery):
        from meerkat_rt.transport import WebSocketConnector

        transport = await WebSocketConnector().connect(target, nursery=nursery)
        receive = transport.receive

        async def kept() -> list[bytes]:
            batch = await receive()
            self.messages += batch
            return batch

        transport.receive = kept  # type: ignore[method-assign]
        return transport


def record(path: Path) -> Sequence[str]:
    """Hold the conversation and write what the provider sent."""
    from meerkat_rt.console.screen import JsonScreen
    from meerkat_rt.console.talk import FAST, Summary, _clip, converse
    from meerkat_rt.embedded import EmbeddedProvider, ServerOptions

    tap = _Tap()
    provider = EmbeddedProvider(options=ServerOptions(pace=4.0 * FAST), connector=tap, seed=1)

    async def talk() -> None:
        speech = _clip("goforward.wav"), _clip("something.wav")
        with contextlib.redirect_stdout(io.StringIO()):
            await converse(
                provider, "embedded", JsonScreen(), Summary(), speech=speech, pace=FAST, store=None
            )

    trio.run(talk)
    lines = [line for message in tap.messages if (line := _kept(message)) is not None]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


if __name__ == "__main__":
    print(f"{len(record(Path(sys.argv[1])))} frames")
