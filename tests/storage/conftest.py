from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

# What is tested here does not depend on the disk, whose flushes cost most of the time.
_IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path):
    """An empty directory, in memory if there is such a place."""
    if not _IN_MEMORY.is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="meerkat-", dir=_IN_MEMORY))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def path(folder):
    """Where a store may be made."""
    return folder / "conversations.db"
