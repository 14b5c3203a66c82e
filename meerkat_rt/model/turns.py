"""The turns of a conversation: how many of the newest fit into a number of tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from .conversation import (
    AssistantBlock,
    AssistantImage,
    AssistantMessage,
    AssistantReasoning,
    AssistantServerTool,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    ContentBlock,
    ImageContent,
    Message,
    SystemMessage,
    SystemNoticeMessage,
    ToolResultsMessage,
    UserMessage,
    VideoContent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHARACTERS_PER_TOKEN = 4  # of English; vendors say so of their tokenizers
MESSAGE_TOKENS = 4  # for the role and what separates messages
PICTURE_TOKENS = 1000  # a megapixel: OpenAI about 765, Gemini 258 a tile


@attrs.frozen(kw_only=True)
class LeftOut:
    """What of a conversation did not fit: its oldest `turns`, with so many messages and tokens."""

    turns: int = 0
    messages: int = 0
    tokens: int = 0


@attrs.frozen(kw_only=True)
class NewestTurns:
    """`messages` that fit, what they come to in `tokens`, and what had to be `left_out`."""

    messages: tuple[Message, ...]
    tokens: int
    left_out: LeftOut


def newest_turns(
    messages: Sequence[Message],
    budget: int | None,
    count: Callable[[Message], int] | None = None,
) -> NewestTurns:
    """The newest turns that fit into `budget` tokens (None: all of them).

    A turn is kept from what the user said to the end of the answer, and never a part of one.  What
    comes before the first turn, such as instructions, is always kept.  `count` gives the tokens of
    a message; without it they are estimated.
    """
    preamble, turns = whole_turns(messages)
    tokens_of = count or estimate_tokens
    tokens = sum(map(tokens_of, preamble))
    costs = [sum(map(tokens_of, turn)) for turn in turns]
    first = len(turns)
    while first > 0 and (budget is None or tokens + costs[first - 1] <= budget):
        first -= 1
        tokens += costs[first]
    kept = [message for turn in turns[first:] for message in turn]
    return NewestTurns(
        messages=(*preamble, *kept),
        tokens=tokens,
        left_out=LeftOut(
            turns=first, messages=sum(map(len, turns[:first])), tokens=sum(costs[:first])
        ),
    )


def whole_turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """What comes before the first turn, and the turns.

    A turn begins with what the user says, which may be several messages, and ends before the user
    speaks again.  What the model says unasked, at the beginning, is a turn of its own.
    """
    preamble: list[Message] = []
    turns: list[list[Message]] = []
    user_speaks = False
    for message in messages:
        if not turns and isinstance(message, (SystemMessage, SystemNoticeMessage)):
            preamble.append(message)
            continue
        begins = isinstance(message, UserMessage) and not user_speaks
        if begins or not turns:
            turns.append([])
        turns[-1].append(message)
        user_speaks = isinstance(message, UserMessage)
    return preamble, turns


def estimate_tokens(message: Message) -> int:
    """About how many tokens a message has, judged by its length.

    Letters beyond ASCII count more, as tokenizers split them more; a picture counts as a constant.
    """
    match message:
        case SystemMessage(content=text):
            return MESSAGE_TOKENS + _text_tokens(text)
        case SystemNoticeMessage(body=body, blocks=blocks):
            return MESSAGE_TOKENS + _text_tokens(body or "") + sum(map(_block_tokens, blocks))
        case UserMessage(content=content):
            return MESSAGE_TOKENS + sum(map(_block_tokens, content))
        case ToolResultsMessage(results=results):
            return sum(
                MESSAGE_TOKENS + sum(map(_block_tokens, result.content)) for result in results
            )
        case AssistantMessage(blocks=blocks):
            return MESSAGE_TOKENS + sum(map(_assistant_block_tokens, blocks))


def _text_tokens(text: str) -> int:
    length = len(text.encode("utf-8", "surrogatepass"))
    return -(-length // CHARACTERS_PER_TOKEN)


def _block_tokens(block: ContentBlock) -> int:
    if isinstance(block, (ImageContent, VideoContent)):
        return PICTURE_TOKENS
    return _text_tokens(block.text_projection())


def _assistant_block_tokens(block: AssistantBlock) -> int:
    match block:
        case AssistantToolUse(name=name, args=args):
            return _text_tokens(name) + _text_tokens(json.dumps(args))
        case AssistantServerTool(content=content):
            return _text_tokens(json.dumps(content))
        case AssistantImage():
            return PICTURE_TOKENS
        case AssistantText(text=text) | AssistantTranscript(text=text):
            return _text_tokens(text)
        case AssistantReasoning(text=text):
            return _text_tokens(text)
