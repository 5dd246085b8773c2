"""How many channels leave every group: measured losses that add up to least within a budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..algebra.knapsack import least_loss
from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..graph.cost import Counter
from .sensitivity import Sensitivity


@dataclass(frozen=True)
class Bounds:
    """How far a group may be narrowed; as `engine.allocations.budget.Limits`."""

    min_channels: int = 1
    max_rate: float = 0.9
    round_to: int = 1


NO_BOUNDS = Bounds()


@dataclass(frozen=True, eq=False)
class _Choices:
    """The widths that one group may get.

    Attributes:
        order: channel ids, first to leave first.
        gone: allowed numbers of channels that leave, rising from 0.
        losses: of each.
    """

    order: tuple[int, ...]
    gone: NDArray[np.int64]
    losses: NDArray[np.float64]


def measured_widths(
    channel_map: ChannelMap,
    groups: Sequence[Group],
    sensitivities: Mapping[str, Sensitivity],
    *,
    macs: float = np.inf,
    params: float = np.inf,
    bounds: Bounds = NO_BOUNDS,
) -> dict[str, int]:
    """Choose how many channels leave every group.

    Where costs add up over groups and one of them is limited, the choice is the best there is; else channels
    leave one share after the other, always where they cost the least loss per cost, as counted exactly.

    Args:
        channel_map: of the network.
        groups: those that take part.
        sensitivities: by the name of the group.
        macs, params: the most that may be left.
        bounds: see `Bounds`.

    Returns:
        Group name -> channels that leave, first in the order of its sensitivity.

    Raises:
        AllocationError: the budget is out of reach.
    """
    counter = Counter(channel_map)
    choices = [_choices(group, sensitivities[group.name], bounds) for group in groups]
    least = counter.totals([i for one in choices for i in one.order[: one.gone[-1]]])
    if least[0] > macs or least[1] > params:
        raise AllocationError(
            f"the smallest network within the limits has {least[0]:,} MACs and {least[1]:,} parameters; "
            f"allowed are {macs:,.0f} and {params:,.0f}"
        )
    limited = [which for which, budget in enumerate((macs, params)) if np.isfinite(budget)]
    chosen = None
    if len(limited) == 1:
        chosen = _knapsack(counter, choices, limited[0], (macs, params)[limited[0]])
    if chosen is None:
        chosen = _greedy(counter, choices, (macs, params))
    return {group.name: int(one.gone[c]) for group, one, c in zip(groups, choices, chosen, strict=True)}


def _choices(group: Group, sensitivity: Sensitivity, bounds: Bounds) -> _Choices:
    n = len(group.channels)
    order = _leaving_some(group, sensitivity.order)
    most = min(len(order), n - bounds.min_channels, int(bounds.max_rate * n))
    gone = np.array([k for k in range(most + 1) if k == 0 or (n - k) % bounds.round_to == 0])
    return _Choices(order, gone, sensitivity.losses()[gone])


def _leaving_some(group: Group, order: tuple[int, ...]) -> tuple[int, ...]:
    """The order up to where a layer that makes only some of the channels would lose its last one."""
    left = [set(part.tolist()) for part in group.parts]
    for step, channel in enumerate(order):
        for part in left:
            part.discard(channel)
        if not all(left):
            return order[:step]
    return order


def _knapsack(
    counter: Counter, choices: Sequence[_Choices], which: int, budget: float
) -> tuple[int, ...] | None:
    """The exact choice; None where what one group saves depends on the widths of others."""
    whole = counter.totals(())[which]
    saved = [
        np.array([whole - counter.totals(one.order[:k])[which] for k in one.gone], dtype=np.int64)
        for one in choices
    ]
    together = counter.totals([i for one in choices for i in one.order[: one.gone[-1]]])[which]
    if whole - together != sum(int(one[-1]) for one in saved):
        return None
    return least_loss([-one for one in saved], [one.losses for one in choices], int(budget) - whole)


def _greedy(counter: Counter, choices: Sequence[_Choices], budgets: tuple[float, float]) -> list[int]:
    """Widths by marginal loss per cost; what is left over of the budget is given back at the end."""
    at = [0] * len(choices)

    def totals(state: Sequence[int]) -> tuple[int, int]:
        return counter.totals(
            [i for one, c in zip(choices, state, strict=True) for i in one.order[: one.gone[c]]]
        )

    def excess(cost: tuple[int, int]) -> float:
        return sum(max(0.0, c - b) / b for c, b in zip(cost, budgets, strict=True) if np.isfinite(b))

    def moved(group: int, to: int) -> list[int]:
        return [to if g == group else c for g, c in enumerate(at)]

    while (now := excess(totals(at))) > 0:
        steps: list[tuple[float, int, int]] = []
        for group, one in enumerate(choices):
            if at[group] + 1 == len(one.gone):
                continue
            per_channel = (now - excess(totals(moved(group, at[group] + 1)))) / (
                one.gone[at[group] + 1] - one.gone[at[group]]
            )
            further = one.gone[at[group] + 1 :] - one.gone[at[group]]
            slopes = (one.losses[at[group] + 1 :] - one.losses[at[group]]) / further
            # As far as the loss per channel is least: a step that costs little may stand behind a dear one.
            far = int(np.flatnonzero(slopes <= slopes.min() * (1 + 1e-9))[0]) + 1
            if per_channel > 0:
                steps.append((float(slopes.min() / per_channel), group, at[group] + far))
        _, group, to = min(steps)
        at[group] = to
    return _given_back(at, choices, lambda state: excess(totals(state)) == 0)


def _given_back(
    at: list[int], choices: Sequence[_Choices], fits: Callable[[Sequence[int]], bool]
) -> list[int]:
    """Widen groups again as long as the budget allows, first where most loss is saved."""
    while True:
        gains = [
            (one.losses[c] - one.losses[c - 1], g)
            for g, (one, c) in enumerate(zip(choices, at, strict=True))
            if c
        ]
        for _, group in sorted(gains, reverse=True):
            wider = [c - (g == group) for g, c in enumerate(at)]
            if fits(wider):
                at = wider
                break
        else:
            return at
