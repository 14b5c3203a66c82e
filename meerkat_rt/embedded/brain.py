"""What the embedded server says: the protocol of a brain, and what a brain gets to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence


@attrs.frozen(kw_only=True)
class BrainTool:
    """A function that the client offers; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class BrainMessage:
    """Something that was said.

    `text` is what was typed or understood; it is empty for speech that nobody recognized, and then
    `speech_seconds` tells how long it was.  `truncated` marks an answer that the user cut short.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    speech_seconds: float = 0.0
    truncated: bool = False


@attrs.frozen(kw_only=True)
class BrainCall:
    """A tool call made earlier; `arguments` is the JSON text."""

    call_id: str
    name: str
    arguments: str


@attrs.frozen(kw_only=True)
class BrainOutput:
    """What a tool call gave."""

    call_id: str
    output: str


BrainEntry = BrainMessage | BrainCall | BrainOutput


@attrs.frozen(kw_only=True)
class BrainRequest:
    """Everything that a brain needs to answer.

    `tool_choice` is "auto", "none" or "required"; `forced_tool` names the one tool that must be
    called.  `modality` is "audio" or "text".
    """

    history: tuple[BrainEntry, ...]
    instructions: str = ""
    tools: tuple[BrainTool, ...] = ()
    tool_choice: str = "auto"
    forced_tool: str | None = None
    parallel_tool_calls: bool = False
    modality: str = "audio"
    metadata: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Say:
    """Say (or write) a text."""

    text: str


@attrs.frozen
class Call:
    """Call a tool; `arguments` is sent as JSON, a string as it stands."""

    name: str
    arguments: Mapping[str, Any] | str


Reply = Say | Call


class Brain(Protocol):
    """Answers.  One brain serves all sessions of a server: state belongs in the history."""

    def reply(self, request: BrainRequest) -> Sequence[Reply] | Awaitable[Sequence[Reply]]:
        """Return what to say and which tools to call, in order.

        May be a plain function (it is called in the event loop, so it must be quick) or a coroutine
        function, which is cancelled when the response is.  An exception makes the response end as
        failed; the session goes on.
        """
        ...
