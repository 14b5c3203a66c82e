"""The rules once more, as plainly as they can be said, at any cost.

Flags on dicts, and a sweep over everything after every event: nothing is shared with the authority
but the vocabulary, so that the one can be held against the other.
"""

from __future__ import annotations

from meerkat_rt.transcript import (
    AssistantTextDelta,
    AssistantTranscriptDelta,
    AssistantTranscriptFinalText,
    AssistantTranscriptTruncated,
    AssistantTurnCompleted,
    AssistantTurnInterrupted,
    ItemObserved,
    ItemSkipped,
    UserTranscriptFinal,
)


class NaiveAuthority:
    def __init__(self, keep_heard_prefix):
        self.keep = keep_heard_prefix
        self.items = {}  # in order of arrival
        self.seen = {}  # delta id -> item id
        self.completions = {}
        self.discarded = set()
        self.emitted = []

    def apply(self, event):
        """Returns (item, role, text, response, stop reason, usage, lane, truncated) per item."""
        before = len(self.emitted)
        match event:
            case ItemObserved():
                response = name(event.response_id) if event.role == "assistant" else None
                if response in self.discarded:
                    self.skip(event.item_id, event.previous_item_id, because_of=response)
                else:
                    self.observe(event.item_id, event.previous_item_id, event.role, response)
            case ItemSkipped():
                self.skip(event.item_id, event.previous_item_id)
            case UserTranscriptFinal():
                self.user_final(event)
            case AssistantTextDelta():
                self.delta(event, "display")
            case AssistantTranscriptDelta():
                self.delta(event, "spoken")
            case AssistantTranscriptFinalText():
                self.replace(event, heard=False)
            case AssistantTranscriptTruncated():
                self.replace(event, heard=self.keep)
            case AssistantTurnCompleted():
                self.completed(name(event.response_id), event.stop_reason, event.usage)
            case AssistantTurnInterrupted():
                self.interrupted(name(event.response_id))
        while self.sweep():
            pass
        return self.emitted[before:]

    def in_flight(self):
        ids = [
            item["response"]
            for item in self.items.values()
            if item["role"] == "assistant" and not item["settled"] and not item["skipped"]
        ]
        return [r for r in dict.fromkeys(ids) if r is not None and r not in self.discarded]

    # -------------------------------------------------------- primitives

    def observe(self, item_id, previous, role, response=None):
        item_id, previous = name(item_id), name(previous)
        if item_id is None:
            return None
        if item_id not in self.items:
            if self.leads_back(previous, item_id):
                return None
            self.items[item_id] = {
                "role": role,
                "previous": previous,
                "response": response,
                "segments": {},
                "skipped": False,
                "ready": False,
                "settled": False,
                "lane": "display",
                "heard": None,
            }
            return self.items[item_id]
        item = self.items[item_id]
        if item["settled"] or item["skipped"] or item["role"] != role:
            return None
        if item["previous"] is None and not self.leads_back(previous, item_id):
            item["previous"] = previous
        if item["response"] is None:
            item["response"] = response
        return None if response is not None and item["response"] != response else item

    def skip(self, item_id, previous, because_of=None):
        existing = self.items.get(name(item_id))
        if existing is None:
            item = self.observe(item_id, previous, "assistant")
        elif because_of is None:
            item = self.observe(item_id, previous, existing["role"])
        else:
            item = self.observe(item_id, previous, "assistant")
            if item and item["response"] not in (None, because_of):
                item = None
        if item is not None and not whole(item):
            item["skipped"] = item["ready"] = True

    def leads_back(self, previous, item_id):
        while previous is not None:
            if previous == item_id:
                return True
            previous = self.items[previous]["previous"] if previous in self.items else None
        return False

    # -------------------------------------------------------- events

    def user_final(self, event):
        item = self.observe(event.item_id, event.previous_item_id, "user")
        if item is None:
            return
        if event.text and not item["segments"].get(event.content_index):
            item["segments"][event.content_index] = event.text
        item["ready"] = True

    def delta(self, event, lane):
        response = name(event.response_id)
        if response is None or event.delta_id in self.seen:
            return
        if response in self.discarded:
            self.skip(event.item_id, event.previous_item_id, because_of=response)
            return
        item = self.observe(event.item_id, event.previous_item_id, "assistant", response)
        holder = self.items.get(name(event.item_id))
        if name(event.delta_id) and holder is not None and not holder["settled"]:
            self.seen[event.delta_id] = name(event.item_id)
        if item is None or item["heard"] is not None:
            return
        if not whole(item):
            item["lane"] = lane
        if item["lane"] == lane:
            segments = item["segments"]
            segments[event.content_index] = segments.get(event.content_index, "") + event.delta
            self.make_ready(item)

    def replace(self, event, heard):
        response, index, said = name(event.response_id), event.content_index, event.text
        if response is None:
            return
        held = self.items.get(name(event.item_id))
        if held and held["heard"] is not None and not held["settled"]:
            shorter = (index, len(said)) < (held["heard"], len(held["segments"].get(index, "")))
            grows = len(said) > len(held["segments"].get(index, ""))
            if heard and held["response"] == response and shorter and not grows:
                self.cut(held, index, said)
                if response in self.discarded and not whole(held):
                    held["skipped"] = True
            elif response in self.discarded:
                self.skip(event.item_id, None, because_of=response)
            return
        if response in self.discarded:
            self.skip(event.item_id, None, because_of=response)
            return
        item = self.observe(event.item_id, None, "assistant", response)
        if item is None or (whole(item) and item["lane"] == "display"):
            return
        item["lane"] = "spoken"
        if heard:
            self.cut(item, index, said)
        else:
            item["segments"][index] = said
        self.make_ready(item)

    def cut(self, item, index, said):
        item["segments"] = {i: t for i, t in item["segments"].items() if i < index}
        item["segments"][index] = said
        item["heard"] = index

    def make_ready(self, item):
        if item["response"] in self.completions and whole(item):
            item["ready"] = True

    def completed(self, response, stop, usage):
        if response is None or response in self.discarded:
            return
        ended = self.completions.get(response)
        if stop == "cancelled":
            self.discard(response, keep_display=False)
        elif stop == "tool_use":
            if ended and not ended["consumed"]:
                del self.completions[response]
                for item in self.unsettled_of(response):
                    item["ready"] = False
        elif ended is None:
            self.completions[response] = {"stop": stop, "usage": usage, "consumed": False}
            for item in self.unsettled_of(response):
                self.make_ready(item)

    def interrupted(self, response):
        if response is not None and response not in self.discarded:
            self.discard(response, keep_display=True)

    def discard(self, response, keep_display):
        self.discarded.add(response)
        ended = self.completions.setdefault(
            response, {"stop": "cancelled", "usage": None, "consumed": False}
        )
        assert ended
        for item in self.unsettled_of(response):
            kept = item["heard"] is not None or (keep_display and item["lane"] == "display")
            if whole(item) and kept:
                item["ready"] = True
            else:
                item["segments"] = {}
                item["skipped"] = item["ready"] = True

    def unsettled_of(self, response):
        return [
            item
            for item in self.items.values()
            if item["role"] == "assistant"
            and item["response"] == response
            and not item["settled"]
            and not item["skipped"]
        ]

    # -------------------------------------------------------- materializing

    def order(self):
        placed = {}
        while True:
            before = len(placed)
            for item_id, item in self.items.items():
                if item_id not in placed and item["previous"] in (None, *placed):
                    placed[item_id] = item
            if len(placed) == before:
                return placed

    def sweep(self):
        free = {
            item_id: item
            for item_id, item in self.order().items()
            if not item["settled"]
            and (item["previous"] is None or self.items[item["previous"]]["settled"])
            and (
                item["skipped"]
                or (
                    item["ready"]
                    and whole(item)
                    and (item["role"] == "user" or item["response"] in self.completions)
                )
            )
        }
        for item_id, item in free.items():
            item["settled"] = True
            self.seen = {d: holder for d, holder in self.seen.items() if holder != item_id}
            if not item["skipped"]:
                self.emit(item_id, item)
        return bool(free)

    def emit(self, item_id, item):
        if item["role"] == "user":
            entry = (item_id, "user", whole(item), None, None, None, None, False)
        else:
            ended = self.completions[item["response"]]
            usage = None if ended["consumed"] else ended["usage"]
            ended["consumed"] = True
            entry = (
                item_id,
                "assistant",
                whole(item),
                item["response"],
                ended["stop"],
                usage,
                item["lane"],
                item["heard"] is not None,
            )
        self.emitted.append(entry)


def name(raw):
    return (raw or "").strip() or None


def whole(item):
    return "".join(text for _, text in sorted(item["segments"].items()))
