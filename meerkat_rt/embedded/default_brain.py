"""The brain that the server comes with: a handful of answers, and a willing user of tools."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .brain import BrainCall, BrainMessage, BrainOutput, Call, Say
from .plausible import plausible_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .brain import BrainRequest, BrainTool, Reply

MOST_PARALLEL_CALLS = 4
LONGEST_ECHO = 600  # characters of the user's or a tool's text that are read back

_SMALL_TALK: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), answer)
    for pattern, answer in (
        (r"\b(hello|hi|hey|good (morning|afternoon|evening))\b", "Hello! How can I help you?"),
        (r"\bhow are you\b", "Very well, thank you. I have no bad days, only short ones."),
        (
            r"\b(who are you|your name|what are you)\b",
            "I am the embedded brain of meerkat_rt: a small program, not a language model.",
        ),
        (
            r"\b(what can you do|help)\b",
            "I can greet you, add numbers, repeat what you say, tell you a story about meerkats, "
            "and use the tools that you offer me.",
        ),
        (r"\b(thanks|thank you)\b", "You are welcome."),
        (r"\b(goodbye|bye|see you)\b", "Goodbye! It was nice talking to you."),
        (
            r"\bjoke\b",
            "Why do meerkats make good programmers? They always keep a lookout for exceptions.",
        ),
    )
)
_STORY = re.compile(r"\b(story|long|meerkats?|talk to me)\b", re.IGNORECASE)
_REPEAT = re.compile(r"\b(?:repeat after me|repeat|say)\b[:,]?\s+(.+)", re.IGNORECASE | re.DOTALL)
_ARITHMETIC = re.compile(
    r"(-?\d{1,9}(?:\.\d{1,6})?)\s*(\+|-|\*|x|/|plus|minus|times|divided by)"
    r"\s*(-?\d{1,9}(?:\.\d{1,6})?)",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^\s*(what|where|when|who|which|how|why|is|are|can|could|do|does|will|find|look|get|show|tell)\b",
    re.IGNORECASE,
)
_FILLER = frozenset(
    {"get", "set", "the", "and", "for", "with", "from", "that", "this", "tool", "a"}
)

# Spoken in turn when somebody talks and nothing better is known; long enough to be interrupted.
_LONG_ANSWERS = (
    "I heard you, although I cannot make out words without a recognizer, so let me tell you about "
    "meerkats instead. They live in groups of about twenty, called mobs, in the dry country of "
    "southern Africa. One of them is always on guard, standing tall on a rock or a bush, and when "
    "it sees an eagle it gives a call that all the others know. Then everybody runs for the next "
    "burrow. You can stop me at any time, just start talking.",
    "There you are again. Here is something else about meerkats: they teach. A pup first gets "
    "scorpions that are dead, then scorpions without a sting, and at last a whole one to deal with "
    "alone. The teachers watch, and help only when it goes wrong. It takes a few weeks, and it is "
    "one of the few clear cases of teaching among wild animals. I find that rather encouraging.",
    "Still listening. In the morning meerkats stand in a row with their bellies to the sun, for "
    "nights in the Kalahari are cold, and the thin dark fur there warms them like a solar panel. "
    "Only when everybody is warm does the day's digging begin. Not a bad way to start, and it "
    "needs no coffee. Interrupt me whenever you have had enough of this.",
)


class DefaultBrain:
    """Answers a handful of things and uses the tools that it is offered.

    It cannot hear words (unless the server has a recognizer), so on the first spoken turn it calls
    an offered tool, then speaks about what the tool gave; to later spoken turns it gives a long
    answer. A typed turn calls the tool whose name or description it mentions.
    """

    def reply(self, request: BrainRequest) -> Sequence[Reply]:
        """Answer at once; never fails."""
        chosen = _choose_tools(request)
        if chosen:
            text = _last_user_text(request) or ""
            return [Call(tool.name, plausible_arguments(tool.parameters, text)) for tool in chosen]
        outputs = _fresh_outputs(request)
        if outputs:
            return [Say(" ".join(_about(request, output) for output in outputs))]
        return [Say(_talk(request))]


def _choose_tools(request: BrainRequest) -> list[BrainTool]:
    tools = list(request.tools)
    if request.forced_tool is not None:
        return [tool for tool in tools if tool.name == request.forced_tool]
    if not tools or request.tool_choice == "none":
        return []
    text = _last_user_text(request)
    if request.tool_choice == "required":
        return _some(_mentioned(tools, text or "") or tools, request)
    # Anything but a user's turn (an output, or nothing at all) is answered in words.
    if text is None or not _user_spoke_last(request):
        return []
    used_before = any(isinstance(entry, BrainCall) for entry in request.history)
    if not text:
        return [] if used_before else _some(tools, request)
    mentioned = _mentioned(tools, text)
    if mentioned:
        return _some(mentioned, request)
    if used_before or _small_talk(text) is not None or not _QUESTION.match(text):
        return []
    return _some(tools, request)


def _some(tools: list[BrainTool], request: BrainRequest) -> list[BrainTool]:
    return tools[: MOST_PARALLEL_CALLS if request.parallel_tool_calls else 1]


def _mentioned(tools: list[BrainTool], text: str) -> list[BrainTool]:
    said = set(_tokens(text))
    return [tool for tool in tools if said & set(_tokens(f"{tool.name} {tool.description}"))]


def _tokens(text: str) -> list[str]:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", text)
    return [part.lower() for part in parts if len(part) > 2 and part.lower() not in _FILLER]


def _last_user_text(request: BrainRequest) -> str | None:
    """What the user said last: "" for speech that was not understood, None for nothing at all."""
    for entry in reversed(request.history):
        if isinstance(entry, BrainMessage) and entry.role == "user":
            return entry.text
    return None


def _user_spoke_last(request: BrainRequest) -> bool:
    last = request.history[-1]
    return isinstance(last, BrainMessage) and last.role == "user"


def _fresh_outputs(request: BrainRequest) -> list[BrainOutput]:
    """The tool outputs that nothing has been said about."""
    fresh: list[BrainOutput] = []
    for entry in reversed(request.history):
        if isinstance(entry, BrainMessage):
            break
        if isinstance(entry, BrainOutput):
            fresh.append(entry)
    return fresh[::-1]


def _about(request: BrainRequest, output: BrainOutput) -> str:
    name = next(
        (
            entry.name
            for entry in request.history
            if isinstance(entry, BrainCall) and entry.call_id == output.call_id
        ),
        "tool",
    )
    spoken_name = " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)).lower() or "tool"
    try:
        value = json.loads(output.output)
    except (ValueError, RecursionError):
        value = output.output
    return f"Here is what {spoken_name} says: {_spoken(value)[:LONGEST_ECHO]}."


def _spoken(value: Any) -> str:
    """A JSON value as one would read it out."""
    match value:
        case dict():
            return ", ".join(f"{_words(key)} is {_spoken(entry)}" for key, entry in value.items())
        case list():
            return ", ".join(_spoken(entry) for entry in value[:10]) or "nothing"
        case True:
            return "yes"
        case False:
            return "no"
        case None:
            return "nothing"
        case _:
            return str(value).strip().rstrip(".") or "nothing"


def _words(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")


def _talk(request: BrainRequest) -> str:
    text = _last_user_text(request)
    turns = sum(isinstance(e, BrainMessage) and e.role == "user" for e in request.history)
    if text is None:
        return "Hello! I am listening."
    if not text:
        return _LONG_ANSWERS[(turns - 1) % len(_LONG_ANSWERS)]
    small = _small_talk(text)
    if small is not None:
        return small
    if _STORY.search(text):
        return _LONG_ANSWERS[turns % len(_LONG_ANSWERS)]
    return f'You said: "{text.strip()[:LONGEST_ECHO]}". I only know a handful of things.'


def _small_talk(text: str) -> str | None:
    sum_ = _ARITHMETIC.search(text)
    if sum_ is not None:
        return _calculate(*sum_.groups())
    repeat = _REPEAT.search(text)
    if repeat is not None:
        return repeat.group(1).strip()[:LONGEST_ECHO]
    return next((answer for pattern, answer in _SMALL_TALK if pattern.search(text)), None)


def _calculate(left: str, operator: str, right: str) -> str:
    a, b = float(left), float(right)
    match operator.lower():
        case "+" | "plus":
            result = a + b
        case "-" | "minus":
            result = a - b
        case "*" | "x" | "times":
            result = a * b
        case _:
            if b == 0:
                return "Nothing can be divided by zero."
            result = a / b
    return f"That makes {result:.10g}."
