"""The table of upstream behaviours is complete, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLES = (TESTS / "COVERAGE.md").read_text(encoding="utf-8").split("\n## ")[1:]
SIZES = (218, 82)
EXCUSES = {"image input", "byte budget", "adapter pump", "live mirror", "channel host"}

ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
NOTE = re.compile(r"(?:^|<br>)(reversed|excused): (.+)$")


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )


def rows() -> list[tuple[int, int, str, str]]:
    return [
        (number, int(row[0]), row[1], row[2])
        for number, table in enumerate(TABLES)
        for row in ROW.findall(table)
    ]


@pytest.mark.parametrize("table", range(len(SIZES)))
def test_every_number_has_one_row(table: int) -> None:
    assert len(TABLES) == len(SIZES)
    numbers = [number for where, number, _, _ in rows() if where == table]
    assert numbers == list(range(1, SIZES[table] + 1))


@pytest.mark.parametrize("table", range(len(SIZES)))
def test_no_row_escapes_the_reader(table: int) -> None:
    lines = [line for line in TABLES[table].splitlines() if line.startswith("|")]
    assert len(lines) == SIZES[table] + 2  # and the two of its head


def test_every_named_test_exists() -> None:
    text = "\n## ".join(TABLES)
    assert len(NAMED.findall(text)) == text.count("::")
    missing = [
        f"{path}::{name}" for path, name in NAMED.findall(text) if name not in functions(path)
    ]
    assert missing == []


def test_every_behaviour_has_a_test_or_an_excuse_and_not_both() -> None:
    for table, number, _, where in rows():
        note = NOTE.search(where)
        excused = note is not None and note[1] == "excused"
        assert bool(NAMED.search(where)) != excused, (table, number)
        if excused:
            assert note[2] in EXCUSES, (table, number)


def test_a_test_that_bears_a_number_is_named_in_the_row_of_that_number() -> None:
    named = {
        (table, number): {name for _, name in NAMED.findall(where)}
        for table, number, _, where in rows()
    }
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in functions(str(path.relative_to(TESTS))):
            table, numbers = 0, re.match(r"test_((?:\d{3}_)+)", name)
            if numbers is None:
                table, numbers = 1, re.match(r"test_((?:t\d+_)+)", name)
            if numbers is None:
                continue
            for number in map(int, re.findall(r"\d+", numbers[1])):
                row = named.get((table, number), {name})
                assert name in row, f"COVERAGE.md, row {number}: add {path.name}::{name}"
