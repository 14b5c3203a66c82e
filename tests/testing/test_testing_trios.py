"""The touches of private Trio API hold on the oldest Trio that we support, and on the newest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = ("test_testing_scheduler.py", "test_testing_targets.py")
INSTALLING = 300  # seconds; only to end an installation that would hang


def oldest() -> str:
    """The requirement of the oldest Trio that the package allows."""
    (line,) = [each for each in metadata.requires("meerkat-rt") or () if each.startswith("trio>")]
    found = re.match(r"trio>=([\d.]+)", line)
    assert found is not None, line
    return f"trio~={found[1]}.0"


def installed(requirement: str, cache: Path) -> Path:
    """A folder with that Trio and nothing else, installed the first time."""
    folder = cache / re.sub(r"\W+", "-", f"{requirement}-python{sys.version_info[:2]}")
    if not (folder / "trio").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        try:
            done = subprocess.run(
                [*command, "--target", str(folder), requirement],
                capture_output=True,
                text=True,
                timeout=INSTALLING,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{requirement} cannot be installed here: {error}")
        if done.returncode:
            pytest.skip(f"{requirement} cannot be installed here: {done.stderr.strip()[-200:]}")
    return folder


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_every_hook_is_there_and_sweeps_run(which: str, request: pytest.FixtureRequest) -> None:
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("meerkat-rt-trios")
    folder = installed(oldest() if which == "oldest" else "trio", cache)
    (found,) = folder.glob("trio-*.dist-info")
    version = found.name.removeprefix("trio-").removesuffix(".dist-info")
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "-q", "-p", "no:cacheprovider", "--no-header"),
            *(
                str(HERE / name)
                for name in ("test_testing_scheduler.py", "test_testing_targets.py")
            ),
        ],
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(HERE.parents[1])])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.startswith(f"trio {version}\n"), done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


PROGRAM = """
import sys, pytest, trio
print("trio", trio.__version__, flush=True)
sys.exit(pytest.main(sys.argv[1:]))
"""
