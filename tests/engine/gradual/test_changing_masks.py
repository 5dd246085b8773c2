"""Soft and hard masks step by step, and what FPGM's first masks are."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from prune.engine.allocations.norm_distance import NormDistance
from prune.engine.events import Accuracy, unwatched
from prune.engine.graph.trace import trace
from prune.engine.masking.changing import ChangingMasks
from prune.engine.masking.trial import trying
from prune.engine.narrowing.chooser import Chooser
from prune.engine.narrowing.surgery import mask
from prune.engine.network.files import load_network
from prune.engine.scores.scoring import Scoring
from prune.engine.training.optimizer import build_sgd, set_rate
from torch import nn

STEPS = 3


def small_net() -> nn.Module:
    """Without a ReLU, behind which a masked filter may hear nothing and stay as it is by itself."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.LeakyReLU(0.5), nn.Conv2d(6, 4, 3), nn.Flatten()
    )


class Trained:
    """A few epochs of momentum SGD under masks that follow a list of filters of the first convolution."""

    def __init__(self, net: nn.Module, filters: Iterable[list[int]], hard: bool, **settings: Any) -> None:
        self.net = net
        self.map = trace(net, (3, 8, 8)).map
        self.weight_FCHW = net[0].weight
        chosen: Iterator[frozenset[int]] = iter(self.ids(f) for f in filters)
        self.hooks = ChangingMasks(
            net,
            self.map,
            lambda _: next(chosen),
            lambda masked: 100 - len(list(masked)),
            lambda: Accuracy(12.5, None, 1.0, 8, 0.0),
            hard=hard,
            steps_per_epoch=STEPS,
            **settings,
        )
        self.optimizer = build_sgd(net, rule="all", momentum=0.9, weight_decay=1e-2)
        set_rate(self.optimizer, 0.05)

    def ids(self, filters: list[int]) -> frozenset[int]:
        return frozenset(self.map.layer("0").out_ids[filters].tolist())

    def zero_filters(self) -> list[int]:
        return torch.nonzero(self.weight_FCHW.flatten(1).abs().sum(1) == 0).flatten().tolist()

    def epochs(self, epochs: Iterable[int]) -> Iterator[tuple[str, int]]:
        """Train, and stop before the first step, after every step and after every epoch."""
        draw = torch.Generator().manual_seed(1)
        for epoch in epochs:
            self.hooks.before_epoch(epoch, self.optimizer)
            yield "begun", epoch
            for step in range(STEPS):
                out_NK = self.net(torch.randn(8, 3, 8, 8, generator=draw))
                self.optimizer.zero_grad()
                out_NK.square().mean().backward()
                self.hooks.after_backward(step)
                self.optimizer.step()
                yield "step", epoch
            self.hooks.after_epoch(epoch)
            yield "done", epoch


def test_soft_masks_let_filters_come_back():
    trained = Trained(small_net(), [[1, 4], [4], [4], [4]], hard=False, epochs=3, prune_every=1)
    seen = {}
    for what, epoch in trained.epochs([1, 2]):
        seen[what, epoch] = trained.zero_filters()
    assert seen == {
        ("begun", 1): [1, 4],
        ("step", 1): [],
        ("done", 1): [4],
        ("begun", 2): [4],
        ("step", 2): [],
        ("done", 2): [4],
    }


def test_hard_masks_keep_filters_at_zero_whatever_moved_them_before():
    trained = Trained(small_net(), [[1], [1, 4], [0, 4], [0]], hard=True, epochs=3, prune_every=1)
    course = []
    for what, epoch in trained.epochs([1, 2, 3]):
        if what == "done" and epoch == 1:  # the newly masked filter was moving
            momentum_FCHW = trained.optimizer.state[trained.weight_FCHW]["momentum_buffer"]
            assert momentum_FCHW[4].abs().max() > 1e-5
        course.append((what, epoch, trained.zero_filters()))
    assert [zero for what, epoch, zero in course if epoch == 1 and what != "done"] == [[1]] * 4
    assert [zero for what, epoch, zero in course if epoch == 2 and what != "done"] == [[1, 4]] * 4
    assert course[9] == ("done", 2, [0, 1, 4])  # filter 1 is free again, but has not moved yet
    assert [zero for what, epoch, zero in course if (what, epoch) == ("step", 3)] == [[0, 4]] * 3
    assert trained.weight_FCHW[1].abs().max() > 0


@pytest.mark.parametrize("hard", [False, True])
def test_only_the_last_masks_take_bn_with_them(hard: bool):
    trained = Trained(small_net(), [[2], [2], [3, 5]], hard=hard, epochs=3, prune_every=2)
    last = trained.ids([3, 5])
    for what, epoch in trained.epochs([1, 2, 3]):
        if epoch < 3 or what != "done":
            assert trained.net[1].weight.abs().min() > 0
            assert trained.hooks.live is None
        else:
            assert trained.hooks.live == Accuracy(12.5, None, 1.0, 8, 0.0)
            assert trained.hooks.masked == last
    state = trained.net.state_dict()
    for name, tensor in mask(state, trained.map, last).items():
        assert torch.equal(tensor, state[name]), name
    for slot in ("weight", "bias", "running_mean"):
        assert torch.nonzero(state[f"1.{slot}"]).flatten().tolist() == [0, 1, 2, 4], slot


def test_masks_are_set_every_so_often_and_only_then_a_soft_network_counts():
    soft = Trained(small_net(), [[0], [1], [2], [3]], hard=False, epochs=5, prune_every=2)
    masked = []
    for what, _ in soft.epochs(range(1, 6)):
        if what == "done":
            masked.append(soft.hooks.masked)
    assert masked == [soft.ids([n]) for n in (0, 1, 1, 2, 3)]
    assert [soft.hooks.may_be_best(epoch) for epoch in range(1, 6)] == [False, True, False, True, True]
    hard = Trained(small_net(), [[0]], hard=True, epochs=5, prune_every=2)
    assert all(hard.hooks.may_be_best(epoch) for epoch in range(1, 6))


def test_state_goes_with_the_checkpoint():
    trained = Trained(small_net(), [[2], [1, 3]], hard=True, epochs=1, prune_every=1)
    list(trained.epochs([1]))
    other = Trained(small_net(), [], hard=True, epochs=1, prune_every=1)
    other.hooks.load_state_dict(trained.hooks.state_dict())
    assert other.hooks.masked == trained.hooks.masked == trained.ids([1, 3])
    assert other.hooks.live == trained.hooks.live
    assert other.net[1].weight[[1, 3]].tolist() == [0, 0]


@pytest.mark.parametrize(
    "case", ["resnet20_norm1_dist0.4", "resnet20_norm0.9_dist0.2", "resnet20_norm1_dist0.3"]
)
def test_the_first_masks_are_the_authors(case: str, shared_golden: Any, shared_data: Any):
    expected = json.loads((shared_golden / "authors" / "fpgm_selection.json").read_text())[case]
    network = load_network(shared_data / "weights" / "resnet20-12fca82f.th", "resnet20")
    rates = {name: expected[name] for name in ("rate_norm", "rate_dist")}
    allocation = NormDistance(**rates, residual="scatter")
    chooser = Chooser(
        network=network, allocation=allocation, scoring=Scoring(), data=None, batch_size=128, seed=0
    )
    trial = unwatched(trying(chooser))
    hooks = ChangingMasks(
        network.model,
        trial.map,
        lambda _: trial.selection.removed,
        lambda masked: 1,
        lambda: Accuracy(0, None, 0, 0, 0),
        hard=False,
        epochs=1,
        prune_every=1,
        steps_per_epoch=1,
    )
    hooks.before_epoch(1, build_sgd(network.model, rule="all", momentum=0.9, weight_decay=0))
    convs = [module for module in network.model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == len(expected["convs"])
    for conv, wanted in zip(convs, expected["convs"], strict=True):
        zero = np.flatnonzero(conv.weight.detach().flatten(1).abs().sum(1) == 0)
        assert zero.tolist() == sorted(wanted["removed_by_norm"] + wanted["removed_by_distance"])
