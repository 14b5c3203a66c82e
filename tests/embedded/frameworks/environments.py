"""Frameworks that are driven against our server, each installed in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import attrs

INSTALLING = 300  # seconds; only to end an installation that would hang


@attrs.frozen
class Framework:
    """A client script of this folder, and what it needs installed.

    `always`: tested in every run, and not only where all frameworks are asked for.
    """

    name: str
    requirements: tuple[str, ...]
    always: bool = False

    @property
    def script(self) -> Path:
        """What its interpreter runs."""
        return Path(__file__).with_name(f"{self.name.replace('-', '_')}_client.py")


FRAMEWORKS = (
    Framework("openai-agents", ("openai-agents>=0.24",), always=True),
    Framework("pydantic-ai", ("pydantic-ai-slim[openai,realtime]>=2.68",)),
    Framework("livekit", ("livekit-plugins-openai>=1.8",)),
)


class NotInstallable(Exception):
    """The environment could not be made; says why."""


def interpreter(framework: Framework, cache: Path) -> Path:
    """The Python that has the framework, installed under `cache` the first time.

    Raises:
        NotInstallable: it cannot be had here.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    where = cache / f"{framework.name}-{version}"
    scripts, suffix = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")
    python, ready = where / scripts / f"python{suffix}", where / "ready"
    wanted = "\n".join(framework.requirements)
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        try:
            venv.create(where, clear=True, with_pip=True)
            _install(python, framework.requirements)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotInstallable(str(error)) from error
        ready.write_text(wanted, encoding="utf-8")
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    done = subprocess.run(
        # Of what is installed a conversation imports a part.
        [python, "-m", "pip", "install", "--quiet", "--no-compile", *requirements],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=INSTALLING,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip failed with {done.returncode}"]
        raise NotInstallable(lines[-1])


def environment() -> dict[str, str]:
    """Ours, less what would let the other interpreter see our packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if name not in hidden}
