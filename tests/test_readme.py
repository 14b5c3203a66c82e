"""What the README prints works as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_program_of_the_readme_runs_and_the_model_answers_with_the_tools_words() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "the model calls get_weather" in result.stdout
    assert re.search(r"the model says: .*sunny in ", result.stdout)


def test_the_block_of_the_readme_is_ten_lines() -> None:
    block = README[
        README.index("    async with open_session(config") : README.index("\n\ntrio.run(main)")
    ]
    assert len(block.splitlines()) <= 10


def test_every_guide_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\((meerkat_rt/[^)]+)\)", README)
    assert links
    for link in links:
        assert (Path(__file__).parents[1] / link).is_file(), link
