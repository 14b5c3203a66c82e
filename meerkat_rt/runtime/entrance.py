"""What `open_session` returns: a session that is not open yet, and says so to who forgets that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .session import RealtimeSession


class Entrance:
    """Opens a session when it is entered, which it is once, and closes it when it is left.

    Entering and leaving are those of `block`; `call` names the function that returned this.
    """

    __slots__ = ("_block", "_call", "_entered")

    def __init__(self, block: AbstractAsyncContextManager[RealtimeSession], call: str) -> None:
        self._block = block
        self._call = call
        self._entered = False

    async def __aenter__(self) -> RealtimeSession:
        if self._entered:
            raise RuntimeError(
                f"this session was entered before; for another one call {self._call}(...) again"
            )
        self._entered = True
        return await self._block.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:  # to a type checker it has none of these, which is what they say

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"{name!r} is the open session's; {self._help()}")

        def __await__(self) -> Any:
            raise TypeError(f"{self._call}(...) is not awaited but entered; {self._help()}")

        def __aiter__(self) -> Any:
            raise TypeError(f"the events are the open session's; {self._help()}")

        def __enter__(self) -> Any:
            raise TypeError(f"{self._call}(...) wants `async with`; {self._help()}")

        def __exit__(self, *_: object) -> None:
            raise AssertionError("never entered")

        def _help(self) -> str:
            return f"write `async with {self._call}(...) as session:` and use `session`"
