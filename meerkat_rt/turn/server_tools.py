"""Tools that run at the provider: all we do is tell, once for each thing that happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.events import ProviderToolCall

if TYPE_CHECKING:
    from .context import Context
    from .ports import ServerToolProgress

_OVER = ("completed", "failed")


class ServerTools:
    """Gathers what becomes known of a call piece by piece, and reports each of its stages once.

    Grows by one id a finished call.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._open: dict[str, tuple[str, str]] = {}  # item id -> name, arguments
        self._told: set[tuple[str, str]] = set()  # item id, status; of open calls
        self._over: set[str] = set()

    def sizes(self) -> dict[str, int]:
        """How much is remembered about calls that are not over."""
        return {"server_tools": len(self._open) + len(self._told)}

    def progress(self, event: ServerToolProgress, now: float) -> None:
        """Something happened to a call."""
        item_id = event.item_id
        if item_id in self._over:
            return
        name, arguments = self._open.get(item_id, ("", ""))
        name, arguments = event.name or name, event.arguments or arguments
        self._open[item_id] = name, arguments
        # First only the name is known, then the arguments: a request is worth telling when it is
        # whole, or when something comes of it.
        if event.status != "requested" or (name and arguments):
            self._tell(item_id, "requested")
            self._tell(item_id, event.status)
        if event.status in _OVER:
            del self._open[item_id]
            self._told = {told for told in self._told if told[0] != item_id}
            self._over.add(item_id)

    def _tell(self, item_id: str, status: str) -> None:
        if (item_id, status) in self._told:
            return
        self._told.add((item_id, status))
        name, arguments = self._open[item_id]
        self._ctx.events.append(
            ProviderToolCall(item_id=item_id, tool_name=name, arguments=arguments, status=status)
        )

    def clear(self) -> None:
        """The session ends."""
        self._open.clear()
        self._told.clear()
