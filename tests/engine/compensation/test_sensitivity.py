"""Orders, measured losses and the widths that follow from them."""

import copy
import itertools

import numpy as np
import pytest
import torch
from mending import images
from prune.engine.compensation.compensate import compensate
from prune.engine.compensation.courses import obs_scores
from prune.engine.compensation.sensitivity import Sensitivity, sensitivities
from prune.engine.compensation.widths import Bounds, measured_widths
from prune.engine.errors import AllocationError
from prune.engine.events import unwatched
from prune.engine.graph.cost import Counter
from prune.engine.graph.trace import trace
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.selection.selection import channel_scores, prunable_groups, removal_order
from torch import Tensor, nn

SIZE = (3, 12, 12)


class Blocks(nn.Module):
    """Two branches with hidden channels: what they save adds up. `chained`: one behind the other instead."""

    def __init__(self, chained: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.chained = chained
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = (
            nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 1))
            for _ in range(2)
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.two(self.one(x)) if self.chained else x + self.one(x) + 0.3 * self.two(x)
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def found():
    torch.set_num_threads(1)
    model = Blocks().eval()
    traced = trace(model, SIZE)
    groups = prunable_groups(traced.map, "internal")
    made, courses = unwatched(sensitivities(model, traced.map, groups, [images(128, SIZE)]))
    return model, traced, groups, {one.group: one for one in made}, courses


def test_what_is_measured_is_the_divergence_of_the_compensated_network(found):
    """Cut for real, refitted by compensation alone (one group: the same inputs), and compared."""
    model, traced, groups, known, _ = found
    one = known[groups[0].name]
    gone = 6
    cut = narrow_proven(model, traced, SIZE, lambda _: one.order[:gone])
    thin, x = copy.deepcopy(cut.model), images(128, SIZE)
    unwatched(compensate(model, thin, cut.map, cut.removed, [x]))
    for name in ("fc", "two.0", "two.3"):  # here only the layer that reads the group makes up for it
        thin.get_submodule(name).load_state_dict(model.get_submodule(name).state_dict())
    with torch.no_grad():
        base, changed = (m(x).double().log_softmax(1) for m in (model, thin))
    divergence = float((base.exp() * (base - changed)).sum(1).mean())
    np.testing.assert_allclose(one.measured[gone], divergence, rtol=0.1)


def test_losses_never_fall_and_meet_what_was_measured(found):
    for one in found[3].values():
        losses = one.losses()
        assert losses[0] == 0
        assert (np.diff(losses) >= 0).all()
        assert len(losses) == len(one.order) + 1
    flat = Sensitivity("g", (1, 2, 3, 4), (1.0, 2.0, 4.0, 8.0), {1: 0.2, 3: 0.1})
    np.testing.assert_allclose(flat.losses(), [0, 0.2, 0.2, 0.2, 0.4])
    cheap = Sensitivity("g", (1, 2), (1.0, 3.0), {})
    np.testing.assert_allclose(cheap.losses(), [0, 0.5, 1.5])


def test_the_scores_give_the_order_of_the_elimination(found):
    _, traced, groups, known, courses = found
    scores = obs_scores(traced.map, courses.values())
    for group in groups:
        order = removal_order(group, channel_scores(traced.map, group, scores))
        assert group.channels[order].tolist()[: len(known[group.name].order)] == list(known[group.name].order)


def test_widths_are_the_best_there_are(found):
    _, traced, groups, known, _ = found
    counter = Counter(traced.map)
    budget = int(0.6 * counter.totals(())[0])
    chosen = measured_widths(traced.map, groups, known, macs=budget, bounds=Bounds(max_rate=1))
    losses = [known[group.name].losses() for group in groups]

    def removed(counts):
        return [i for group, k in zip(groups, counts, strict=True) for i in known[group.name].order[:k]]

    every = itertools.product(*(range(len(one)) for one in losses))
    best = min(
        sum(loss[k] for loss, k in zip(losses, counts, strict=True))
        for counts in every
        if counter.totals(removed(counts))[0] <= budget
    )
    assert counter.totals(removed(chosen.values()))[0] <= budget
    assert sum(loss[chosen[group.name]] for group, loss in zip(groups, losses, strict=True)) == best


@pytest.mark.parametrize("chained", [False, True])
def test_both_budgets_and_the_bounds_are_kept(chained: bool):
    model = Blocks(chained)
    traced = trace(model, SIZE)
    groups = prunable_groups(traced.map, "coupled")
    draw = np.random.default_rng(0)
    known = {
        g.name: Sensitivity(
            g.name, tuple(g.channels.tolist()[:-1]), tuple(np.cumsum(draw.random(len(g.channels) - 1))), {}
        )
        for g in groups
    }
    counter = Counter(traced.map)
    macs, params = (0.5 * total for total in counter.totals(()))
    bounds = Bounds(min_channels=2, round_to=2, max_rate=0.8)
    for budget in ({"macs": macs}, {"params": params}, {"macs": macs, "params": params}):
        chosen = measured_widths(traced.map, groups, known, **budget, bounds=bounds)
        left = counter.totals([i for name, k in chosen.items() for i in known[name].order[:k]])
        assert left[0] <= budget.get("macs", np.inf)
        assert left[1] <= budget.get("params", np.inf)
        for group in groups:
            kept = len(group.channels) - chosen[group.name]
            assert kept == len(group.channels) or (kept % 2 == 0 and kept >= 2)
            assert chosen[group.name] <= 0.8 * len(group.channels)
    with pytest.raises(AllocationError, match="smallest network within the limits"):
        measured_widths(traced.map, groups, known, macs=1.0)
