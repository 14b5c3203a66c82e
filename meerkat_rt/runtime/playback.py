"""What the application reports about the loudspeaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .arguments import check_count

if TYPE_CHECKING:
    from .core import SessionCore


class Playback:
    """What the application tells about the playing of the model's speech."""

    def __init__(self, core: SessionCore) -> None:
        self._core = core

    def report(self, item_id: str, content_index: int, played_ms: int) -> None:
        """The user has heard the first `played_ms` milliseconds of this item.

        From the first report on, reports alone say what was heard; without any, it is estimated
        from the time of delivery.  A position behind the last one, or beyond what was received, is
        clamped.  An item that the session does not know (any more) is ignored.  Not a checkpoint.

        Raises:
            InvalidRequest: `played_ms` is negative.
            RuntimeError: called from another Trio run or another thread.
        """
        self._core.check_run()
        check_count(played_ms, "played_ms")
        self._core.machine.report_playback(item_id, content_index, played_ms, trio.current_time())
        self._core.step()
