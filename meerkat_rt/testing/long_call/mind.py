"""What is said in a long call, and what the model says next."""

from __future__ import annotations

from typing import Any

import attrs


def words_of(turn: int) -> list[int]:
    """The frames of the user's turn, which are its words."""
    return list(range(turn * 100, turn * 100 + 3 + turn * 7 % 8))


def looks_up(turn: int) -> bool:
    """Whether the answer to the turn rests on a lookup."""
    return turn % 3 == 0


def answer_to(turn: int, found: str | None) -> list[str]:
    """The words of the answer."""
    words = [f"a{turn}.{number}" for number in range(3 + turn % 5)]
    return words if found is None else [*words, found]


@attrs.define
class Entry:
    """Something that the model knows: `kind` is user, assistant, call or output."""

    kind: str
    text: str
    call_id: str = ""


class Mind:
    """Decides what the model says next, from what it knows."""

    def __init__(self, known: list[Entry] | None = None) -> None:
        self.known = list(known or ())
        self.puzzles: list[str] = []  # what it was asked and could make no sense of

    def next(self) -> tuple[str, Any]:
        """What to do: ("say", words), ("call", turn), or ("wait", why)."""
        asked = next(
            (at for at in reversed(range(len(self.known))) if self.known[at].kind == "user"), None
        )
        if asked is None:
            return "wait", "nobody has said anything"
        since = self.known[asked + 1 :]
        turn = int(self.known[asked].text.split()[0]) // 100
        found = None
        if looks_up(turn):
            calls = [each for each in self.known if each.kind == "call" and each.text == str(turn)]
            if not calls:
                return "call", turn
            outputs = [
                each.text
                for each in self.known
                if each.kind == "output" and each.text.startswith(f"found{turn}.")
            ]
            if not outputs:
                return "wait", "the lookup"
            if len(outputs) > 1:
                self.puzzles.append(f"turn {turn}: the outcome was told {len(outputs)} times")
            found = outputs[0]
        said = " ".join(each.text for each in since if each.kind == "assistant").split()
        whole = answer_to(turn, found)
        if said != whole[: len(said)]:
            self.puzzles.append(f"turn {turn}: {said} was said of {whole}")
        return "say", whole[len(said) :]


def expected(turns: int) -> tuple[tuple[str, str], ...]:
    """The transcript of a call of so many turns, whatever happens to its connections."""
    lines: list[tuple[str, str]] = []
    lookups = 0
    for turn in range(turns):
        found = None
        if looks_up(turn):
            lookups += 1
            found = f"found{turn}.{lookups}"
        lines.append(("user", " ".join(map(str, words_of(turn)))))
        lines.append(("assistant", " ".join(answer_to(turn, found))))
    return tuple(lines)
