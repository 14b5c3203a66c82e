"""Drive an embedded `GeminiEngine` by hand, with every message of both sides under the oracle."""

from __future__ import annotations

import base64
from itertools import count

from support.driven import Driven
from support.embedded_session import spoken_turn_16k
from support.gemini_oracle import check

from meerkat_rt.embedded.effects import Close
from meerkat_rt.embedded.gemini import GeminiEngine, Shelf
from meerkat_rt.embedded.gemini.wire import Terms

MODEL = "models/gemini-test"
AUDIO = {"responseModalities": ["AUDIO"]}
TEXT = {"responseModalities": ["TEXT"]}
SPOKEN = {"inputAudioTranscription": {}, "outputAudioTranscription": {}}
MANUAL = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}


def shelf(now: list[float] | None = None) -> Shelf:
    """A shelf with a clock that stands, and handles that count."""
    numbers = count(1)
    now = [0.0] if now is None else now
    return Shelf(clock=lambda: now[0], mint=lambda: f"handle{next(numbers)}")


def declared(name: str = "get_weather", **fields: object) -> dict:
    """A tool with one function whose one property is a city."""
    schema = {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING"}},
        "required": ["city"],
    }
    return {"functionDeclarations": [{"name": name, "parameters": schema, **fields}]}


class Session(Driven):
    """A session of Gemini's protocol; `messages` are those that the server has sent."""

    def __init__(
        self,
        *,
        setup: dict | None = None,
        brain: object | None = None,
        hears: str | None = None,
        kept: Shelf | None = None,
        oracle: bool = True,
        seed: str = "t",
        **terms: object,
    ) -> None:
        text = "(speech)" if hears is None else hears
        super().__init__(brain=brain, text=text, check=check, oracle=oracle)
        self.messages = self.sent
        self.closed: Close | None = None
        self.shelf = kept or shelf()
        self.engine = GeminiEngine(
            Terms(hears_words=hears is not None, **terms), self.shelf, seed=seed
        )
        self.engine.open()
        if setup is not None:
            self.send({"setup": {"model": MODEL, **setup}})

    def affect(self, effect: object) -> None:
        """Take one effect of the engine's."""
        if isinstance(effect, Close):
            assert self.closed is None
            self.closed = effect
        else:
            super().affect(effect)

    def refuses(self, message: dict | str | bytes, code: int, text: str) -> None:
        """Send what must close the connection with this code, and a reason that holds `text`."""
        assert self.send(message, valid=False) == []
        assert self.closed is not None, "it was accepted"
        assert (self.closed.code, text) == (code, text if text in self.closed.reason else "")

    def run(self) -> list[dict]:
        """Finish everything that can be finished."""
        return self.recognize() + super().run()

    def ask(self, text: str) -> list[dict]:
        """A typed turn and the whole answer."""
        return self.send(typed(text)) + self.run()

    def hear(self, audio: bytes | None = None) -> list[dict]:
        """A spoken turn; what came back while it was spoken."""
        return self.send(*chunks(spoken_turn_16k() if audio is None else audio))


def typed(text: str, *, complete: bool = True, role: str = "user") -> dict:
    """A message with a turn of text."""
    turn = {"role": role, "parts": [{"text": text}]}
    return {"clientContent": {"turns": [turn], "turnComplete": complete}}


def realtime(**field: object) -> dict:
    """A realtime input."""
    return {"realtimeInput": field}


def chunks(audio: bytes, size: int = 3200, mime_type: str = "audio/pcm;rate=16000") -> list[dict]:
    """The messages that carry `audio`, in chunks as a microphone makes them."""
    return [
        realtime(
            audio={
                "mimeType": mime_type,
                "data": base64.b64encode(audio[start : start + size]).decode(),
            }
        )
        for start in range(0, len(audio), size)
    ]


def answers(*call_ids: str, response: dict | None = None, **fields: object) -> dict:
    """The tool response to these calls."""
    body = {"output": "sunny"} if response is None else response
    responses = [{"id": each, "name": "x", "response": body, **fields} for each in call_ids]
    return {"toolResponse": {"functionResponses": responses}}


def kinds(messages: list[dict]) -> list[str]:
    """What messages hold, field by field; runs of the same are folded into one."""
    out: list[str] = []
    for message in messages:
        for key, body in message.items():
            names = list(body) if key == "serverContent" else [key]
            for name in names:
                if name not in out[-2:] or name not in ("modelTurn", "outputTranscription",
                                                        "inputTranscription"):  # fmt: skip
                    out.append(name)
    return out


def contents(messages: list[dict], field: str) -> list:
    """That field of every server content that has it."""
    return [m["serverContent"][field] for m in messages if field in m.get("serverContent", {})]


def said(messages: list[dict]) -> str:
    """The words of the model's speech."""
    return "".join(each.get("text", "") for each in contents(messages, "outputTranscription"))


def heard(messages: list[dict]) -> str:
    """The words of the user's."""
    return "".join(each.get("text", "") for each in contents(messages, "inputTranscription"))


def parts(messages: list[dict]) -> list[dict]:
    """Every part of the model's turns."""
    return [part for each in contents(messages, "modelTurn") for part in each["parts"]]


def wrote(messages: list[dict]) -> str:
    """The text of the model's parts, thoughts left out."""
    return "".join(part.get("text", "") for part in parts(messages) if not part.get("thought"))


def audio_of(messages: list[dict]) -> bytes:
    """The audio of the model's parts."""
    blobs = [part["inlineData"] for part in parts(messages) if "inlineData" in part]
    assert {blob["mimeType"] for blob in blobs} <= {"audio/pcm;rate=24000"}
    plain = (blob["data"].replace("-", "+").replace("_", "/") for blob in blobs)
    return b"".join(base64.b64decode(data) for data in plain)


def calls_of(messages: list[dict]) -> list[dict]:
    """Every function call."""
    return [c for m in messages if "toolCall" in m for c in m["toolCall"]["functionCalls"]]


def handles(messages: list[dict]) -> list[str | None]:
    """What was told about resuming: a handle, or None where it is not possible."""
    updates = [m["sessionResumptionUpdate"] for m in messages if "sessionResumptionUpdate" in m]
    return [each.get("newHandle") if each.get("resumable") else None for each in updates]
