"""Standard output, which may end before the command does, as with `meerkat-rt ... | head`."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

UNREAD = 141  # the exit code; what a shell says of a command that SIGPIPE has ended


class OutputLost(click.ClickException):
    """Standard output takes nothing more."""

    def show(self, file: Any = None) -> None:
        """Tell why, and have the interpreter not try again as it exits."""
        _discard()
        click.echo(self.format_message(), file=file, err=True)


class OutputUnread(OutputLost):
    """Nobody reads it any longer, which is not worth a word."""

    exit_code = UNREAD

    def show(self, file: Any = None) -> None:
        """Tell nothing, and have the interpreter not try again as it exits."""
        _discard()


def output_lost(error: OSError) -> OutputLost:
    """What to raise, by what was raised when something was written."""
    kind = OutputUnread if error.errno == errno.EPIPE else OutputLost
    return kind(f"The output cannot be written: {error.strerror}.")


def _discard() -> None:
    # What is still buffered would be flushed at the exit, and complained of.
    with contextlib.suppress(OSError, AttributeError):  # no descriptor, or no output at all
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, sys.stdout.fileno())
        finally:
            os.close(null)


def say(text: str, *, nl: bool = True) -> None:
    """Print something.

    Raises:
        OutputLost: it cannot be written.
    """
    try:
        click.echo(text, nl=nl)
    except OSError as error:
        raise output_lost(error) from None


class Output:
    """Standard output for a session that is to end in order, also if what it shows cannot be shown.

    Nothing raises here.  Once something could not be written, `failure` says why, `wait_lost`
    returns, and the rest is left out.  Rich writes from a thread of its own, too.
    """

    def __init__(self) -> None:
        # None if it was closed before we began; then nobody wants to see anything.
        self._file = sys.stdout or io.StringIO()
        self.failure: OSError | None = None
        self._lost = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    def __getattr__(self, name: str) -> Any:
        # What kind of file it is: `isatty`, `encoding` and the like.
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write, if it can be written."""
        self._try(lambda: self._file.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if it can be flushed."""
        self._try(self._file.flush)

    async def wait_lost(self) -> None:
        """Wait until something could not be written."""
        self._token = trio.lowlevel.current_trio_token()
        if self.failure is None:
            await self._lost.wait()

    def _try(self, act: Callable[[], object]) -> None:
        if self.failure is not None:
            return
        try:
            act()
        except OSError as error:
            self.failure = error
            if self._token is not None:
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._lost.set)
