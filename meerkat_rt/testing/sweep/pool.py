"""Jobs over processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING

from .work import do

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .plan import Job
    from .work import Outcome


def outcomes(jobs: Sequence[Job], processes: int) -> Iterator[Outcome]:
    """Each job's outcome as soon as there is one; with one process, in order and in this one.

    Raises:
        BrokenProcessPool: a process has died.
    """
    if processes == 1:
        yield from map(do, jobs)
        return
    # Fresh processes: a run must not depend on what this one has loaded.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for future in as_completed([pool.submit(do, job) for job in jobs]):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
