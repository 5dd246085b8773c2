"""Orders, measured losses and the widths that follow from them."""

import copy
import itertools

import numpy as np
import pytest
import torch
from mending import images
from prune.engine.compensation.compensate import compensate
from prune.engine.compensation.measuring import sensitivities
from prune.engine.compensation.sensitivity import Sensitivity, filter_losses
from prune.engine.events import unwatched
from prune.engine.graph.cost import Counter
from prune.engine.graph.trace import trace
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.selection.least_loss import of_least_loss
from prune.engine.selection.removal_order import Limits
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
    made = unwatched(sensitivities(model, traced.map, groups, [images(128, SIZE)]))
    return model, traced, groups, {one.group: one for one in made}


def test_what_is_measured_is_the_divergence_of_the_compensated_network(found):
    """Cut for real, refitted by compensation alone (one group: the same inputs), and compared."""
    model, traced, groups, known = found
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


def test_scores_are_the_losses_in_the_order_of_the_elimination(found):
    _, traced, groups, known = found
    scores = filter_losses(traced.map, groups, known.values())
    for group in groups:
        one = known[group.name]
        scores_C = channel_scores(traced.map, group, scores)
        order = removal_order(group, scores_C)
        assert group.channels[order].tolist()[: len(one.order)] == list(one.order)
        np.testing.assert_allclose(scores_C[order][: len(one.order)], one.losses()[1:], rtol=1e-5, atol=1e-30)


def test_scores_keep_their_order_in_a_file(found):
    """Losses that do not rise are kept apart, by more than a file of float32 rounds away."""
    _, traced, groups, _ = found
    flat = [Sensitivity(g.name, tuple(g.channels[::-1].tolist()[:-1]), (0.5,) * 11, {3: 0.1}) for g in groups]
    scores = {name: s.float() for name, s in filter_losses(traced.map, groups, flat).items()}
    for group, one in zip(groups, flat, strict=True):
        order = removal_order(group, channel_scores(traced.map, group, scores))
        assert group.channels[order].tolist()[: len(one.order)] == list(one.order)


def test_widths_are_the_best_there_are(found):
    _, traced, groups, known = found
    scores = filter_losses(traced.map, groups, known.values())
    counter = Counter(traced.map)
    budget = int(0.6 * counter.totals(())[0])
    chosen = of_least_loss(traced.map, groups, scores, (budget, np.inf), Limits(max_rate=1))
    assert chosen is not None
    losses = [known[group.name].losses() for group in groups]

    def removed(counts):
        return [i for group, k in zip(groups, counts, strict=True) for i in known[group.name].order[:k]]

    every = itertools.product(*(range(len(one)) for one in losses))
    best = min(
        sum(loss[k] for loss, k in zip(losses, counts, strict=True))
        for counts in every
        if counter.totals(removed(counts))[0] <= budget
    )
    gone = {name: n - kept for name, (kept, n) in chosen.counts.items()}
    assert counter.totals(chosen.removed)[0] <= budget
    total = sum(loss[gone[group.name]] for group, loss in zip(groups, losses, strict=True))
    assert total == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("chained", [False, True])
def test_both_budgets_and_the_limits_are_kept(chained: bool):
    model = Blocks(chained)
    traced = trace(model, SIZE)
    groups = prunable_groups(traced.map, "coupled")
    draw = np.random.default_rng(0)
    known = [
        Sensitivity(
            g.name, tuple(g.channels.tolist()[:-1]), tuple(np.cumsum(draw.random(len(g.channels) - 1))), {}
        )
        for g in groups
    ]
    scores = filter_losses(traced.map, groups, known)
    counter = Counter(traced.map)
    macs, params = (0.5 * total for total in counter.totals(()))
    limits = Limits(min_channels=2, round_to=2, max_rate=0.8)
    for budgets in ((macs, np.inf), (np.inf, params), (macs, params)):
        chosen = of_least_loss(traced.map, groups, scores, budgets, limits)
        assert chosen is not None
        left = counter.totals(chosen.removed)
        assert left[0] <= budgets[0]
        assert left[1] <= budgets[1]
        for kept, n in chosen.counts.values():
            assert kept == n or (kept % 2 == 0 and kept >= 2)
            assert n - kept <= 0.8 * n
    assert of_least_loss(traced.map, groups, scores, (1.0, np.inf), limits) is None
