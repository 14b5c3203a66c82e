"""The house rules that can be checked: direction of imports, clocks, sizes, public names."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "meerkat_rt"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_rooms_import_in_one_direction_only() -> None:
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert linter is not None, "import-linter is part of the test extra"
    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_reads_a_real_clock(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {
                ("time", "time"),
                ("time", "monotonic"),
                ("time", "sleep"),
            }, f"line {node.lineno}"


def test_every_public_name_is_importable_and_documented() -> None:
    import meerkat_rt

    for name in (
        "open_session",
        "attach_external_session",
        "RealtimeSession",
        "RealtimeSessionFactory",
        "RealtimeSessionOpenConfig",
        "RealtimeExternalSessionTarget",
        "RealtimeConfig",
        "OpenAIRealtime",
        "SessionLimits",
        "ToolSet",
        "TranscriptAuthority",
        "EmbeddedProvider",
        "SqliteStore",
        "MemoryStore",
        "resume_config",
        "FlightRecorder",
    ):
        assert getattr(meerkat_rt, name).__doc__, name
        assert name in dir(meerkat_rt)
    for namespace in ("events", "public", "errors", "codec", "transcript", "client_events"):
        assert getattr(meerkat_rt, namespace).__doc__, namespace
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = meerkat_rt.nonsense


def test_the_client_alone_imports_no_server_and_no_database() -> None:
    program = (
        "import sys, meerkat_rt; "
        "rooms = ('sqlite3', 'numpy', 'meerkat_rt.embedded'); "
        "print([name for name in rooms if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
