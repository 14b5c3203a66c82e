"""The smallest recipe that still fails: the fewest blows, the fewest departures from FIFO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .recipe import Recipe
    from .run import RunResult
    from .scheduler import Order, Orders


def smallest(failed: RunResult, run: Callable[[Recipe], RunResult]) -> RunResult:
    """A failed run that needs no more than it must; `failed` itself, if nothing can be left out.

    Of several blows one alone may do.  The recipe names explicit orders in place of a seed, for the
    fewest batches.  A run that had to be ended by force is not repeated: each would leave tasks
    that can never be unwound.
    """
    if failed.hard_stopped:
        return failed
    best = failed

    def still_fails(recipe: Recipe) -> bool:
        nonlocal best
        result = run(recipe)
        # What makes the recipe itself impossible is no failure of the program.
        fails = any(not violation.startswith("diverged") for violation in result.violations)
        if fails:
            best = result
        return fails and not result.hard_stopped

    recipe = attrs.evolve(failed.recipe, seed=None, orders=failed.orders)
    if len(recipe.inject) > 1:
        alone = (attrs.evolve(recipe, inject=(blow,)) for blow in recipe.inject)
        recipe = next(filter(still_fails, alone), recipe)
    if recipe.orders:
        orders = shrink(recipe.orders, lambda few: still_fails(attrs.evolve(recipe, orders=few)))
        recipe = attrs.evolve(recipe, orders=orders)
    if best is failed and recipe != failed.recipe:
        still_fails(recipe)  # the seed in its explicit form
    return best


def shrink(orders: Orders, fails: Callable[[Orders], bool]) -> dict[int, Order]:
    """Drop departures from FIFO, many at a time and then few, while what is left still fails."""
    current = dict(orders)
    size = max(1, len(current) // 2)
    while size and current:
        batches = sorted(current)
        for start in range(0, len(batches), size):
            dropped = set(batches[start : start + size])
            fewer = {batch: order for batch, order in current.items() if batch not in dropped}
            if fails(fewer):
                current = fewer
                break
        else:
            size //= 2
    return current
