"""What went wrong, in sentences for people."""

from __future__ import annotations

from meerkat_rt.runtime.errors import LlmError
from meerkat_rt.runtime.failures import leaves


def sentences(group: BaseExceptionGroup[BaseException]) -> list[str]:
    """One for each thing that went wrong, however deep it is and however many tasks saw it.

    To be printed after the `except*`: what exits in there ends up in a group itself.
    """
    return list(dict.fromkeys(map(_sentence, leaves(group))))


def _sentence(error: BaseException) -> str:
    # Which of its many kinds it is can be looked up, unlike that of an error of our own.
    return f"{type(error).__name__}: {error}" if isinstance(error, LlmError) else str(error)
