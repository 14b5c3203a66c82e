"""The peers' environments: one for each, so that their dependencies cannot disagree."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import attrs

ENVIRONMENT_VARIABLE = "MEERKAT_BENCH_CACHE"
DEFAULT_CACHE = Path(__file__).parent.parent / ".bench"


@attrs.frozen
class Subject:
    """A module of `bench.subjects`, and the environment it runs in (None: this one)."""

    module: str
    environment: str | None = None

    @property
    def name(self) -> str:
        """What it is called in tables and on the command line."""
        return self.module.replace("_", "-").removesuffix("-client")


SUBJECTS = (
    Subject("drain"),
    Subject("floor", "floor"),
    Subject("meerkat"),
    Subject("meerkat_store"),
    Subject("meerkat_trio_websocket"),
    Subject("meerkat_batches"),
    Subject("openai_client", "openai"),
    Subject("openai_agents", "openai-agents"),
    Subject("livekit", "livekit"),
    Subject("pydantic_ai", "pydantic-ai"),
    Subject("pipecat", "pipecat"),
)


def cache(option: Path | None) -> Path:
    """Where the environments are: the option, else the environment variable, else `.bench`."""
    return option or Path(os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_CACHE)


def interpreter(subject: Subject, where: Path) -> Path | None:
    """The Python that runs the subject; None if its environment was not made."""
    if subject.environment is None:
        return Path(sys.executable)
    scripts, suffix = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")
    python = where / subject.environment / scripts / f"python{suffix}"
    return python if (where / subject.environment / "ready").exists() else None


def packages(subject: Subject) -> tuple[str, ...]:
    """What the subject needs installed, read from its module without importing it."""
    spec = importlib.util.find_spec(f"bench.subjects.{subject.module}")
    assert spec is not None
    assert spec.origin is not None
    for line in Path(spec.origin).read_text(encoding="utf-8").splitlines():
        if line.startswith("PACKAGES = "):
            names: tuple[str, ...] = ast.literal_eval(line.removeprefix("PACKAGES = "))
            return names
    raise LookupError(f"{subject.module} names no PACKAGES")


def setup(where: Path) -> Iterator[tuple[Subject, str]]:
    """Make what is missing; yields each subject with "" or why it cannot be had."""
    for subject in SUBJECTS:
        if subject.environment is None or interpreter(subject, where) is not None:
            continue
        yield subject, _make(subject, where / subject.environment)


def _make(subject: Subject, path: Path) -> str:
    venv.create(path, clear=True, with_pip=True)
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    command = [path / scripts / "python", "-m", "pip", "install", "--quiet", *packages(subject)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"pip failed with {done.returncode}"
    (path / "ready").touch()
    return ""
