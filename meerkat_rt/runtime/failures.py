"""What comes out of a block when several things have failed in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


def reraise(raised: BaseException) -> NoReturn:
    """Raise it as it is: its context stays what it was, and is not where we took it from."""
    context = raised.__context__
    try:
        raise raised
    finally:
        raised.__context__ = context
        del raised, context  # this frame is in its traceback


def what_to_raise(
    group: BaseExceptionGroup[BaseException], own: BaseException | None
) -> BaseException:
    """What the block around a session raises for `group`, which its nursery raised.

    `own` is what the block itself raised: it comes out as it is, be it a cancellation or a group of
    the application's.  Our own failure comes out bare.  Only where both failed they come as a
    group.  A cancellation beside an error is dropped: whoever cancelled will see that again.
    """
    of_block = set(map(id, leaves(own)))
    failures = [
        failure
        for error in group.exceptions
        if (failure := _failure(error)) is not None
        and not of_block.issuperset(map(id, leaves(error)))
    ]
    if own is not None and _failure(own) is not None:
        failures.insert(0, own)
    if not failures:
        return own or next(leaves(group))
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup("the block and its session failed", failures)


def beside(
    own: BaseException | None, error: BaseException, failed: BaseException
) -> BaseException | None:
    """What a block raises that raised `own`, and `error` while something around it was closed.

    `failed` is what to call the latter.  It is noted on an error of the block's; what wants the
    program to stop is raised with that.
    """
    if own is not None and set(map(id, leaves(own))).issuperset(map(id, leaves(error))):
        return own
    if own is None:
        return failed if isinstance(error, Exception) else error
    if not isinstance(error, Exception):
        return what_to_raise(BaseExceptionGroup("both", [own, error]), own)
    if _failure(own) is None:
        return failed  # whoever cancelled will see that again
    own.add_note(f"besides, {failed}")
    return own


def _failure(error: BaseException) -> BaseException | None:
    """What is no cancellation in `error`, and without the groups that hold it alone."""
    if not isinstance(error, BaseExceptionGroup):
        return None if isinstance(error, trio.Cancelled) else error
    rest: BaseException | None = error.split(trio.Cancelled)[1]
    while isinstance(rest, BaseExceptionGroup) and len(rest.exceptions) == 1:
        rest = rest.exceptions[0]
    return rest


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions of a group that are no groups themselves, however deep; one alone is one."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    elif error is not None:
        yield error
