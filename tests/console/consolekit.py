"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

COMMAND = [sys.executable, "-m", "meerkat_rt"]
NO_KEYS = {"OPENAI_API_KEY": "", "GEMINI_API_KEY": ""}
ENVIRONMENT = {**os.environ, **NO_KEYS, "PYTHONWARNINGS": "error", "COLUMNS": "200"}
TIMEOUT = 90  # seconds; only to end a test that would hang


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=TIMEOUT,
        check=False,
    )
