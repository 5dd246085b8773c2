"""Widths by what they cost: against all that there are, and where the next best step would be another."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prune.engine.graph.channels import ChannelMap
from prune.engine.graph.cost import Counter
from prune.engine.graph.trace import trace
from prune.engine.selection.least_loss import (
    _Choices,
    _choices,
    _given_back,
    _greedy,
    losses_of,
    of_least_loss,
)
from prune.engine.selection.removal_order import Limits
from prune.engine.selection.selection import prunable_groups
from torch import Tensor, nn

NO_LIMIT = float("inf")


class Beside(nn.Module):
    """Three layers side by side, of other sizes of kernels: what one of them saves is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 4, kernel, padding="same") for kernel in (1, 3, 5))
        self.ends = nn.ModuleList(nn.Conv2d(4, 2, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([end(conv(x).relu()) for conv, end in zip(self.convs, self.ends, strict=True)], 1)


@pytest.fixture(scope="module")
def beside() -> ChannelMap:
    return trace(Beside().eval(), (3, 4, 4)).map


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("which", [0, 1])
def test_where_costs_add_up_no_other_widths_lose_less(beside: ChannelMap, seed: int, which: int):
    draw = np.random.default_rng(seed)
    scores = {layer.name: draw.random(len(layer.out_ids)) for layer in beside.layers}
    groups, counter = prunable_groups(beside), Counter(beside)
    budgets = [NO_LIMIT, NO_LIMIT]
    budgets[which] = draw.uniform(0.4, 0.9) * counter.totals(())[which]
    chosen = of_least_loss(beside, groups, scores, (budgets[0], budgets[1]), Limits(max_rate=1.0))
    of_groups = [losses_of(beside, group, scores) for group in groups]
    losing = {}
    for gone in itertools.product(range(4), repeat=3):
        removed = frozenset(int(i) for (order, _), k in zip(of_groups, gone, strict=True) for i in order[:k])
        if counter.totals(removed)[which] <= budgets[which]:
            losing[removed] = sum(losses[k] for (_, losses), k in zip(of_groups, gone, strict=True))
    assert chosen is not None
    assert losing[chosen.removed] == pytest.approx(min(losing.values()))


def test_as_many_stay_as_limits_say(beside: ChannelMap):
    scores = {layer.name: np.ones(len(layer.out_ids)) for layer in beside.layers}
    groups, (macs, _) = prunable_groups(beside), Counter(beside).totals(())
    chosen = of_least_loss(beside, groups, scores, (0.8 * macs, NO_LIMIT), Limits(3, max_rate=1.0))
    assert chosen is not None
    assert {kept for kept, _ in chosen.counts.values()} <= {3, 4}
    assert of_least_loss(beside, groups, scores, (0.7 * macs, NO_LIMIT), Limits(3, max_rate=1.0)) is None


def test_the_smallest_network_fits_a_budget_of_exactly_what_it_costs(beside: ChannelMap):
    scores = {layer.name: np.ones(len(layer.out_ids)) for layer in beside.layers}
    groups, counter = prunable_groups(beside), Counter(beside)
    least = counter.totals([i for group in groups for i in group.channels[1:].tolist()])
    for budgets in ((least[0], NO_LIMIT), (NO_LIMIT, least[1]), least):
        chosen = of_least_loss(beside, groups, scores, budgets, Limits(max_rate=1.0))
        assert chosen is not None
        assert {kept for kept, _ in chosen.counts.values()} == {1}
    for budgets in ((least[0] - 1, NO_LIMIT), (NO_LIMIT, least[1] - 1)):
        assert of_least_loss(beside, groups, scores, budgets, Limits(max_rate=1.0)) is None


def test_where_no_group_takes_part_nothing_leaves(beside: ChannelMap):
    chosen = of_least_loss(beside, (), {}, (NO_LIMIT, NO_LIMIT), Limits())
    assert chosen is not None
    assert chosen.removed == frozenset()


def test_a_loss_never_falls_and_is_never_below_zero(beside: ChannelMap):
    group = prunable_groups(beside)[0]
    order, losses = losses_of(beside, group, {group.producers[0]: np.array([0.2, -1.0, 0.5, 0.1])})
    assert order.tolist() == group.channels[[1, 3, 0, 2]].tolist()
    assert losses.tolist() == [0.0, 0.0, 0.1, 0.2, 0.5]


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        (Limits(max_rate=1.0), [0, 1, 2, 3]),
        (Limits(max_rate=0.5), [0, 1, 2]),
        (Limits(max_rate=1.0, round_to=2), [0, 2]),
        (Limits(max_rate=1.0, round_to=3), [0, 1]),
        (Limits(max_rate=1.0, round_to=5), [0]),
        (Limits(9, max_rate=1.0), [0]),
    ],
)
def test_widths_within_limits(beside: ChannelMap, limits: Limits, gone: list[int]):
    group = prunable_groups(beside)[0]
    assert _choices(beside, group, {group.producers[0]: np.ones(4)}, limits).gone.tolist() == gone


def choices(*losses: list[float]) -> list[_Choices]:
    """Groups of as many channels as there are losses; ids from 100 times the group's number up."""
    return [
        _Choices(100 * group + np.arange(len(lost) - 1), np.arange(len(lost)), np.array(lost))
        for group, lost in enumerate(losses)
    ]


def totals(removed: np.ndarray) -> tuple[int, int]:
    """Channels of the first group cost 1, of the second 10, of 100 in all."""
    return 100 - sum(10 if i >= 100 else 1 for i in removed.tolist()), 0


@pytest.mark.parametrize(
    ("first", "second", "budget", "at"),
    [
        (np.arange(41.0), [0.0, 5.0, 10.0, 15.0], 80, [0, 2]),  # 5 saves ten times what 1 does
        (np.arange(41.0), [0.0, 1.0, 12.0, 23.0], 87, [3, 1]),  # after its first, it does no longer
        (
            np.arange(41.0),
            [0.0, 9.0, 9.5, 40.0],
            80,
            [0, 2],
        ),  # behind what costs much stands what costs little
        (np.arange(41.0) / 20, [0.0, 5.0, 10.0, 15.0], 86, [14, 0]),
        (np.arange(2.0), [0.0, 5.0, 10.0], 79, [1, 2]),  # both to their ends
        (np.array([0.0, 0.1, 0.9]), [0.0, 2.0, 4.0], 90, [0, 1]),  # what was too much is given back
        (np.array([0.0, 0.0, 5.0]), [0.0, 2.0, 4.0], 99, [1, 0]),  # for nothing
    ],
)
def test_the_least_loss_per_cost_leaves_first(
    first: np.ndarray, second: list[float], budget: float, at: list[int]
):
    counter = SimpleNamespace(totals=totals)
    assert _greedy(counter, choices(first.tolist(), second), (budget, NO_LIMIT)) == at


def test_what_is_left_of_the_budget_goes_where_most_loss_is_saved():
    groups = choices([0.0, 10.0, 11.0], [0.0, 1.0, 5.0])
    assert _given_back([2, 2], groups, lambda chosen: sum(chosen) >= 3) == [2, 1]
    assert _given_back([2, 2], groups, lambda chosen: False) == [2, 2]
