"""How to make one run happen again: what was injected where, under which order of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .scheduler import Orders, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(kw_only=True)
class Recipe:
    """One run of a scenario.  As text: ``at=35:cancel seed=7``, ``at=35:cancel orders=40:2,0,1``.

    `inject` says which action is fired at which point, in the order of the points.  `seed` or
    `orders` says how batches are ordered; with neither, FIFO.
    """

    inject: tuple[tuple[int, str], ...] = ()
    seed: int | None = None
    orders: Orders = attrs.field(factory=dict)

    def schedule(self) -> Schedule:
        """A fresh schedule for one run."""
        if self.orders:
            return Schedule(orders=self.orders)
        return Schedule(seed=self.seed)

    def __str__(self) -> str:
        parts = []
        if self.inject:
            parts.append("at=" + "+".join(f"{point}:{action}" for point, action in self.inject))
        if self.seed is not None:
            parts.append(f"seed={self.seed}")
        if self.orders:
            parts.append("orders=" + _orders_text(self.orders))
        return " ".join(parts) or "fifo"

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read back the text form.

        Raises:
            ValueError: the text is not a recipe.
        """
        inject: list[tuple[int, str]] = []
        seed: int | None = None
        orders: dict[int, tuple[int, ...]] = {}
        # An action's name may hold spaces, so a word without "=" belongs to the part before it.
        for part in _parts(text):
            key, _, value = part.partition("=")
            match key:
                case "at":
                    for step in value.split("+"):
                        point, colon, action = step.partition(":")
                        if not colon:
                            raise ValueError(f"{step!r} is not a point and an action")
                        inject.append((int(point), action))
                case "seed":
                    seed = int(value)
                case "orders":
                    orders = _parse_orders(value)
                case "fifo":
                    pass
                case _:
                    raise ValueError(f"{part!r} is not part of a recipe")
        return cls(inject=tuple(inject), seed=seed, orders=orders)


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    for word in text.split():
        if "=" in word or not parts:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    return parts


def _orders_text(orders: Mapping[int, tuple[int, ...]]) -> str:
    return ";".join(f"{batch}:{','.join(map(str, orders[batch]))}" for batch in sorted(orders))


def _parse_orders(text: str) -> dict[int, tuple[int, ...]]:
    orders: dict[int, tuple[int, ...]] = {}
    for part in text.split(";"):
        batch, _, order = part.partition(":")
        places = tuple(int(place) for place in order.split(","))
        if len(places) < 2 or sorted(places) != list(range(len(places))):
            raise ValueError(f"{part!r} is not a batch number and an order of its tasks")
        orders[int(batch)] = places
    return orders
