"""One choice per group, least total loss within a budget: dynamic programming over what is not beaten.

The multiple-choice knapsack of SPDY, arXiv 2201.13096, section 3, on costs as they are, without buckets.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LARGEST_FRONT = 200_000  # partial choices remembered at once


def least_loss(
    costs: Sequence[NDArray[np.int64]], losses: Sequence[NDArray[np.float64]], budget: int
) -> tuple[int, ...] | None:
    """Choose one item of every group so that the costs stay within the budget and the losses are least.

    Exact as long as no more than `LARGEST_FRONT` partial choices are worth remembering; above that, the
    cheapest loss of each interval of costs is kept, and the budget is still kept to.

    Args:
        costs: per group, of its items.
        losses: likewise.
        budget: what the chosen costs may add up to.

    Returns:
        Per group the item chosen, or None where even the cheapest items exceed the budget.
    """
    cheapest = [int(cost.min()) for cost in costs]
    rest = np.concatenate([np.cumsum(cheapest[::-1])[::-1][1:], [0]]) if costs else np.zeros(0)
    front_cost, front_loss = np.zeros(1, dtype=np.int64), np.zeros(1)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for group, (cost, loss) in enumerate(zip(costs, losses, strict=True)):
        total_cost = (front_cost[:, None] + cost[None]).ravel()
        total_loss = (front_loss[:, None] + loss[None]).ravel()
        order = np.lexsort((total_loss, total_cost))
        order = order[total_cost[order] <= budget - int(rest[group])]
        best = np.minimum.accumulate(total_loss[order])
        worth = np.concatenate([[True], best[1:] < best[:-1]]) if len(order) else np.zeros(0, dtype=bool)
        order = _thinned(order[worth], total_cost, budget)
        if not len(order):
            return None
        front_cost, front_loss = total_cost[order], total_loss[order]
        steps.append((order // len(cost), order % len(cost)))
    chosen: list[int] = []
    at = len(front_cost) - 1  # losses fall along the front
    for parents, items in reversed(steps):
        chosen.append(int(items[at]))
        at = int(parents[at])
    return tuple(reversed(chosen))


def _thinned(order: NDArray[np.int64], cost: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    if len(order) <= LARGEST_FRONT:
        return order
    interval = cost[order] * LARGEST_FRONT // max(budget, 1)
    last = np.concatenate([interval[1:] != interval[:-1], [True]])  # the least loss of its interval
    return order[last]
