"""The widths that cost least: of every group's, such that the losses add up to least within a budget.

Here a score is a loss: what the network loses when the channel leaves with all of its group that score less.
SPDY, arXiv 2201.13096, section 3, and HALP, arXiv 2210.06659, choose widths so, under costs that add up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..algebra.knapsack import least_loss
from ..graph.channels import ChannelMap, Group
from ..graph.cost import Counter
from .removal_order import Limits
from .selection import Scores, Selection, channel_scores, group_counts, removal_order


@dataclass(frozen=True, eq=False)
class _Choices:
    """The widths that one group may get.

    Attributes:
        order: channel ids, first to leave first.
        gone: allowed numbers of channels that leave, rising from 0.
        losses: of each, never falling.
    """

    order: NDArray[np.int64]
    gone: NDArray[np.int64]
    losses: NDArray[np.float64]

    def leaving(self, chosen: int) -> NDArray[np.int64]:
        """The ids that leave at one of the widths."""
        return self.order[: self.gone[chosen]]


def of_least_loss(
    channel_map: ChannelMap,
    groups: Sequence[Group],
    scores: Scores,
    budgets: tuple[float, float],
    limits: Limits,
) -> Selection | None:
    """Choose how many channels leave every group.

    Where costs add up over groups and one of them is limited, the choice is the best there is; else channels
    leave one share after the other, always where they cost the least loss per cost, as counted exactly.

    Args:
        channel_map: of the network.
        groups: those that take part.
        scores: per convolution name, scores_F: losses, see above.
        budgets: the most MACs and parameters that may be left; infinite where nobody says.
        limits: how far groups may be narrowed.

    Returns:
        None where the budgets are out of reach.
    """
    counter = Counter(channel_map)
    choices = [_choices(channel_map, group, scores, limits) for group in groups]
    if not _fits(counter.totals(_leaving(choices, [-1] * len(choices))), budgets):
        return None
    limited = [which for which, budget in enumerate(budgets) if np.isfinite(budget)]
    chosen: Sequence[int] | None = None
    if len(limited) == 1:
        chosen = _knapsack(counter, choices, limited[0], budgets[limited[0]])
    if chosen is None:
        chosen = _greedy(counter, choices, budgets)
    removed = frozenset(_leaving(choices, chosen).tolist())
    return Selection(removed, group_counts(groups, removed))


def losses_of(
    channel_map: ChannelMap, group: Group, scores: Scores
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The channels that may leave a group, first to leave first, and the loss with 0, 1, 2, ... gone."""
    scores_C = channel_scores(channel_map, group, scores)
    order = removal_order(group, scores_C)
    losses = np.concatenate([[0.0], np.maximum.accumulate(np.maximum(scores_C[order], 0))])
    return group.channels[order], losses


def _choices(channel_map: ChannelMap, group: Group, scores: Scores, limits: Limits) -> _Choices:
    order, losses = losses_of(channel_map, group, scores)
    n = len(group.channels)
    most = min(len(order), *limits.most(group).values())
    gone = np.array([k for k in range(most + 1) if k == 0 or (n - k) % limits.round_to == 0])
    return _Choices(order, gone, losses[gone])


def _leaving(choices: Sequence[_Choices], chosen: Sequence[int]) -> NDArray[np.int64]:
    """The ids that leave, one width per group; -1 is the narrowest."""
    ids = [one.leaving(c) for one, c in zip(choices, chosen, strict=True)]
    return np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64)


def _fits(cost: tuple[int, int], budgets: tuple[float, float]) -> bool:
    return all(c <= b for c, b in zip(cost, budgets, strict=True))


def _knapsack(
    counter: Counter, choices: Sequence[_Choices], which: int, budget: float
) -> tuple[int, ...] | None:
    """The exact choice; None where what one group saves depends on the widths of others."""
    whole = counter.totals(())[which]
    saved = [
        np.array([whole - counter.totals(one.order[:k])[which] for k in one.gone], dtype=np.int64)
        for one in choices
    ]
    together = counter.totals(_leaving(choices, [-1] * len(choices)))[which]
    if whole - together != sum(int(one[-1]) for one in saved):
        return None
    return least_loss([-one for one in saved], [one.losses for one in choices], int(budget) - whole)


def _greedy(counter: Counter, choices: Sequence[_Choices], budgets: tuple[float, float]) -> list[int]:
    """Widths by marginal loss per cost; what is left over of the budget is given back at the end."""
    at = [0] * len(choices)

    def excess(chosen: Sequence[int]) -> float:
        cost = counter.totals(_leaving(choices, chosen))
        return sum(max(0.0, c - b) / b for c, b in zip(cost, budgets, strict=True) if np.isfinite(b))

    while (now := excess(at)) > 0:
        steps: list[tuple[float, int, int]] = []
        for group, one in enumerate(choices):
            here = at[group]
            if here + 1 == len(one.gone):
                continue
            narrower = [c + (g == group) for g, c in enumerate(at)]
            per_channel = (now - excess(narrower)) / (one.gone[here + 1] - one.gone[here])
            slopes = (one.losses[here + 1 :] - one.losses[here]) / (one.gone[here + 1 :] - one.gone[here])
            # As far as the loss per channel is least: a step that costs little may stand behind a dear one.
            far = int(np.flatnonzero(slopes <= slopes.min() * (1 + 1e-9))[0]) + 1
            steps.append((float(slopes.min() / max(per_channel, 1e-300)), group, here + far))
        _, group, to = min(steps)
        at[group] = to
    return _given_back(at, choices, lambda chosen: excess(chosen) == 0)


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
