"""Drive an embedded `Engine` by hand, with every frame of both sides held against the oracle."""

from __future__ import annotations

import base64
import wave
from functools import cache
from pathlib import Path

import numpy as np
import soxr
from support.driven import Driven
from support.openai_oracle import check

from meerkat_rt.embedded import Engine, Quirks
from meerkat_rt.embedded.audio import FORMATS

RECORDINGS = Path(__file__).parents[2] / "meerkat_rt" / "console" / "data"


@cache
def recording(name: str = "goforward", rate: int = 24000) -> np.ndarray:
    """A shipped recording of real speech as 16-bit samples at `rate`."""
    with wave.open(str(RECORDINGS / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return soxr.resample(samples, file.getframerate(), rate).astype(np.int16)


@cache
def spoken_turn(name: str = "goforward", form: str = "audio/pcm", silence: float = 1.0) -> bytes:
    """A recording followed by room-quiet silence (seconds), encoded in a wire format."""
    audio_format = FORMATS[form]
    quiet = np.random.default_rng(7).normal(0, 12, int(silence * audio_format.rate))
    samples = np.concatenate((recording(name, audio_format.rate), quiet.astype(np.int16)))
    return audio_format.encode(samples)


def spoken_turn_16k(name: str = "goforward", silence: float = 1.0) -> bytes:
    """The same at 16 kHz, as Gemini hears natively."""
    quiet = np.random.default_rng(7).normal(0, 12, int(silence * 16_000))
    return np.concatenate((recording(name, 16_000), quiet.astype("<i2"))).tobytes()


def appends(audio: bytes, size: int = 4800) -> list[dict]:
    """The append events that carry `audio`, in chunks as a microphone makes them."""
    return [
        {
            "type": "input_audio_buffer.append",
            "audio": base64.b64encode(audio[start : start + size]).decode(),
        }
        for start in range(0, len(audio), size)
    ]


def typed(text: str, **fields: object) -> dict:
    """The event that adds a typed user message."""
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content, **fields}
    return {"type": "conversation.item.create", "item": item}


def function_tool(name: str = "get_weather", **properties: object) -> dict:
    """A function tool whose properties are all required."""
    properties = properties or {"city": {"type": "string"}}
    return {
        "type": "function",
        "name": name,
        "description": "",
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": list(properties),
        },
    }


def session_update(**fields: object) -> dict:
    """A session.update with the required type."""
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def turn_detection(value: dict | None) -> dict:
    """A session.update of the turn detection alone."""
    return session_update(audio={"input": {"turn_detection": value}})


def kinds(events: list[dict]) -> list[str]:
    """The types of events, with runs of the same delta folded into one."""
    out: list[str] = []
    for event in events:
        if not (event["type"].endswith(".delta") and event["type"] in out[-2:]):
            out.append(event["type"])
    return out


class Session(Driven):
    """A session of OpenAI's protocol; `events` are those that the server has sent."""

    def __init__(
        self,
        *,
        kind: str = "realtime",
        model: str = "test-model",
        brain: object | None = None,
        hears: str | None = None,
        measures: str = "(speech)",
        quirks: Quirks | None = None,
        oracle: bool = True,
        **options: object,
    ) -> None:
        text = measures if hears is None else hears
        super().__init__(brain=brain, text=text, check=check, oracle=oracle)
        self.events = self.sent
        self.engine = Engine(
            kind=kind,
            model=model,
            seed="t",
            expires_at=1_800_000_000,
            hears_words=hears is not None,
            quirks=quirks,
            **options,
        )
        self.engine.open()
        self.take()

    def fails(self, event: dict | str | bytes, code: str, param: str | None = None) -> dict:
        """Send what must be refused: exactly one error with this code comes back."""
        (error,) = self.send(event, valid=False)
        assert error["type"] == "error", error
        assert error["error"]["code"] == code, error
        if param is not None:
            assert error["error"]["param"] == param, error
        return error["error"]

    def ask(self, text: str, **response: object) -> list[dict]:
        """A typed turn and its whole response; the events of the response."""
        self.send(typed(text))
        back = self.send({"type": "response.create", "response": response})
        return back + self.run()

    def hear(self, audio: bytes | None = None) -> list[dict]:
        """A spoken turn; what came back while it was spoken."""
        return self.send(*appends(spoken_turn() if audio is None else audio))


def only(events: list[dict], kind: str) -> dict:
    """The one event of that type."""
    (found,) = [event for event in events if event["type"] == kind]
    return found


def every(events: list[dict], kind: str) -> list[dict]:
    """All events of that type."""
    return [event for event in events if event["type"] == kind]


def audio_of(events: list[dict]) -> bytes:
    """The audio in the deltas."""
    deltas = every(events, "response.output_audio.delta")
    return b"".join(base64.b64decode(event["delta"]) for event in deltas)
