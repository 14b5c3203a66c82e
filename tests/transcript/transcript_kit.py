"""Short ways to say transcript events, and a log of what an authority makes of them."""

from __future__ import annotations

import json
from typing import Any

from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantText,
    AssistantTranscript,
    StopReason,
    Usage,
    UserMessage,
)
from meerkat_rt.model.delta_run import DeltaRun
from meerkat_rt.transcript import (
    AssistantTextDelta,
    AssistantTranscriptDelta,
    AssistantTranscriptFinalText,
    AssistantTranscriptTruncated,
    AssistantTurnCompleted,
    AssistantTurnInterrupted,
    ItemObserved,
    ItemSkipped,
    MaterializedAssistant,
    RealtimeTranscriptRole,
    TranscriptAuthority,
    UserTranscriptFinal,
    state_from_json,
    state_to_json,
)


def obs(item, prev=None, role="assistant", response=None):
    return ItemObserved(
        item_id=item,
        previous_item_id=prev,
        role=RealtimeTranscriptRole(role),
        response_id=response,
    )


def skip(item, prev=None):
    return ItemSkipped(item_id=item, previous_item_id=prev)


def user(item, prev, text, index=0):
    return UserTranscriptFinal(item_id=item, previous_item_id=prev, content_index=index, text=text)


def text(response, delta_id, item, prev, delta, index=0, kind=AssistantTextDelta):
    return kind(
        response_id=response,
        delta_id=delta_id,
        item_id=item,
        previous_item_id=prev,
        content_index=index,
        delta=delta,
    )


def spoken(response, delta_id, item, prev, delta, index=0):
    return text(response, delta_id, item, prev, delta, index, kind=AssistantTranscriptDelta)


def run_of(deltas):
    """Deltas of one text as one entry."""
    first, *others = deltas
    run = DeltaRun.of(first)
    run.delta_ids += [each.delta_id for each in others]
    run.deltas += [each.delta for each in others]
    return run


def final(response, item, whole, index=0):
    return AssistantTranscriptFinalText(
        response_id=response, item_id=item, content_index=index, text=whole
    )


def trunc(response, item, heard, index=0):
    return AssistantTranscriptTruncated(
        response_id=response, item_id=item, content_index=index, text=heard
    )


def done(response, stop="end_turn", tokens=(0, 0)):
    return AssistantTurnCompleted(
        response_id=response,
        stop_reason=StopReason(stop),
        usage=Usage(input_tokens=tokens[0], output_tokens=tokens[1]),
    )


def intr(response):
    return AssistantTurnInterrupted(response)


class Log:
    """An authority, and all that it has said so far.

    `restarting` puts the authority through its JSON form after every event.
    """

    def __init__(self, *, keep_heard_prefix=False, restarting=False):
        self.keep_heard_prefix = keep_heard_prefix
        self.restarting = restarting
        self.authority = TranscriptAuthority(keep_heard_prefix=keep_heard_prefix)
        self.messages: list[Any] = []
        self.entries: list[Any] = []
        self.rules: list[str] = []

    def __call__(self, event):
        """Apply; returns the ids that materialized."""
        outcome = self.authority.apply(event)
        self.messages += outcome.messages
        self.entries += outcome.materialized_messages
        self.rules = [diagnostic.rule.value for diagnostic in outcome.diagnostics]
        assert outcome.is_inert == (not outcome.messages) == (not outcome.materialized_messages)
        if self.restarting:
            self.restart()
        return [entry.item_id for entry in outcome.materialized_messages]

    def all(self, *events):
        """Apply several; returns what the last one materialized."""
        ids = []
        for event in events:
            ids = self(event)
        return ids

    def restart(self):
        state = self.authority.state
        text_form = json.dumps(state_to_json(state))
        read = state_from_json(json.loads(text_form))
        assert read == state
        self.authority = TranscriptAuthority(read, keep_heard_prefix=self.keep_heard_prefix)
        assert self.authority.state == state

    @property
    def in_flight(self):
        return list(self.authority.in_flight_response_ids)

    @property
    def blocked(self):
        return [(b.item_id, b.waits_for.value) for b in self.authority.blocked]

    @property
    def usage(self):
        total = Usage()
        for entry in self.entries:
            if isinstance(entry, MaterializedAssistant):
                total += entry.usage
        in_messages = Usage()
        for message in self.messages:
            if isinstance(message, AssistantMessage) and message.usage is not None:
                in_messages += message.usage
        assert in_messages == total
        return total.input_tokens, total.output_tokens

    @property
    def history(self):
        """U"text" as ("U", text); an assistant message as ("A", T"..", S"..", H"..") blocks."""
        return [short(message) for message in self.messages]


def short(message):
    if isinstance(message, UserMessage):
        return ("U", message.text_content())
    return ("A", *map(_short_block, message.blocks))


def _short_block(block):
    if isinstance(block, AssistantText):
        return "T:" + block.text
    assert isinstance(block, AssistantTranscript)
    return ("H:" if block.truncated else "S:") + block.text
