"""Slicing and masking, on a network small enough to write the expected tensors down."""

import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.archs.units import ConvBN, PadShortcut
from prune.engine import criteria
from prune.engine.graph.trace import trace
from prune.engine.modules.fit import fit
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.narrowing.surgery import mask, narrow
from soaked import often
from torch import nn

NAMES = registry.names()
SMALL = [name for name in NAMES if name in ("resnet20", "vgg16_bn", "resnet18")]


class TwoStages(nn.Module):
    """A stem of four channels, an option-A shortcut into six, a branch beside it."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch = ConvBN(3, 4, 3), ConvBN(4, 6, 3)
        self.shortcut, self.fc = PadShortcut(4, 6, 1), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.fc(torch.relu(self.branch(x) + self.shortcut(x)).mean((2, 3)))


@pytest.fixture
def two_stages():
    torch.manual_seed(0)
    model = TwoStages().eval()
    return model, trace(model, (3, 8, 8)).map, dict(model.state_dict())


def ids_of(channel_map, layer, *positions):
    return channel_map.layer(layer).out_ids[list(positions)].tolist()


def test_narrow_slices_producers_and_consumers(two_stages):
    _, channel_map, state = two_stages
    cut = narrow(state, channel_map, ids_of(channel_map, "stem.conv", 1))
    kept = [0, 2, 3]
    for name in (
        "stem.conv.weight",
        "stem.bn.weight",
        "stem.bn.bias",
        "stem.bn.running_mean",
        "stem.bn.running_var",
    ):
        assert torch.equal(cut[name], state[name][kept]), name
    assert torch.equal(cut["branch.conv.weight"], state["branch.conv.weight"][:, kept])
    assert torch.equal(cut["fc.weight"], state["fc.weight"])


def test_a_removed_source_of_a_shortcut_reads_as_zero(two_stages):
    _, channel_map, state = two_stages  # the index is -1 0 1 2 3 -1
    cut = narrow(state, channel_map, ids_of(channel_map, "stem.conv", 1))
    assert cut["shortcut.index"].tolist() == [-1, 0, -1, 1, 2, -1]


def test_a_removed_target_of_a_shortcut_is_dropped(two_stages):
    _, channel_map, state = two_stages
    cut = narrow(state, channel_map, ids_of(channel_map, "branch.conv", 0, 3))
    assert cut["shortcut.index"].tolist() == [0, 1, 3, -1]
    assert torch.equal(cut["fc.weight"], state["fc.weight"][:, [1, 2, 4, 5]])


def test_masks_zero_producers_and_nothing_else(two_stages):
    _, channel_map, state = two_stages
    masked = mask(state, channel_map, ids_of(channel_map, "branch.conv", 2))
    for name in ("branch.conv.weight", "branch.bn.weight", "branch.bn.bias", "branch.bn.running_mean"):
        assert masked[name][2].eq(0).all(), name
        others = [0, 1, 3, 4, 5]
        assert torch.equal(masked[name][others], state[name][others]), name
    for name in ("branch.bn.running_var", "fc.weight", "stem.conv.weight"):
        assert torch.equal(masked[name], state[name]), name
    assert masked["shortcut.index"].tolist() == [-1, 0, -1, 2, 3, -1]


def test_nothing_given_is_changed(two_stages):
    _, channel_map, state = two_stages
    before = {name: tensor.clone() for name, tensor in state.items()}
    removed = ids_of(channel_map, "stem.conv", 0)
    cut, masked = narrow(state, channel_map, removed), mask(state, channel_map, removed)
    for name, tensor in before.items():
        cut[name].zero_()
        masked[name].zero_()
        assert torch.equal(state[name], tensor), name


def random_plan(channel_map, seed):
    rng = np.random.default_rng(seed)
    removed = []
    for group in channel_map.groups:
        free = group.channels[group.free]
        if group.producers and len(free):
            count = rng.integers(0, min(len(free), len(group.channels) - 1), endpoint=True)
            removed += rng.choice(free, count, replace=False).tolist()
    return removed


def randomised(name):
    torch.manual_seed(sum(map(ord, name)))
    arch = registry.get(name)
    model = arch.build(10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    channels, side, _ = arch.input_size
    return model, (channels, min(side, 32), min(side, 32))


@pytest.mark.parametrize("name", often(NAMES, but={*NAMES} - {*SMALL}))
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_properties_of_every_arch(name, seed):
    """Random plans narrow as masked, keep-all changes nothing, permuted filters have permuted scores."""
    model, size = randomised(name)
    traced, state = trace(model, size), dict(model.state_dict())
    whole = narrow(state, traced.map, [])
    assert list(whole) == list(state)
    assert all(torch.equal(whole[key], state[key]) for key in state)
    result = narrow_proven(model, traced, size, lambda channel_map: random_plan(channel_map, seed))
    assert result.removed
    assert result.difference < 1e-9

    scores = criteria.score("l1", model, traced)
    layer = next(layer for layer in traced.map.layers if layer.name in scores)
    order_F = torch.randperm(layer.shape[0], generator=torch.Generator().manual_seed(0))
    permuted = fit(model, state | {layer.weight: state[layer.weight][order_F]})
    assert torch.equal(criteria.score("l1", permuted, traced)[layer.name], scores[layer.name][order_F])
