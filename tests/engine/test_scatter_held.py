"""`scatter` where something needs the full width: the layers before it lose filters of their own, exactly."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import prune
import pytest
import torch
from prune.engine.graph.residual import HELD
from prune.engine.modules.guests import EXPANSIONS
from prune.engine.network.files import load_network, save_network
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
token_networks = importlib.import_module("token_networks")
SIZE = (3, 16, 16)
IMAGES = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Affine(nn.Module):
    """One number is added to all channels: none of them reads as zero any more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.shift = nn.Parameter(torch.tensor(0.3))
        self.conv2, self.fc = nn.Conv2d(16, 12, 3, padding=1), nn.Linear(12, 4)

    def forward(self, x):
        x = self.bn(self.conv1(x)).relu() + self.shift
        return self.fc(self.conv2(x).relu().mean((2, 3)))


class Chain(nn.Module):
    """A convolution, a depthwise one behind it, and behind that channels that meet each other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.depthwise, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16)
        self.fc = nn.Linear(256, 4)

    def forward(self, x):
        x = self.bn2(self.depthwise(self.bn(self.conv(x)).relu())).flatten(2)
        return self.fc((x @ x.transpose(1, 2)).flatten(1))


class Pooled(nn.Module):
    """A linear layer at one place of an image adds to what a convolution makes at all; a norm holds both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.add = nn.Conv2d(3, 16, 3), nn.Linear(16, 16)
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x):
        x = self.conv(x).permute(0, 2, 3, 1)
        x = x + self.add(x.mean((1, 2), keepdim=True))
        return self.fc(self.norm(x).mean((1, 2)))


def made(kind):
    torch.manual_seed(2)
    model = kind().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor, 0.2, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def make_affine():
    return made(Affine)


def make_chain():
    return made(Chain)


def make_pooled():
    return made(Pooled)


MAKERS = {
    "inputs_width": token_networks.make_inputs_width,
    "affine": make_affine,
    "chain": make_chain,
    "pooled": make_pooled,
}
KEPT = {  # of each layer half its filters, but for what answers
    "inputs_width": {"patches": 12, "attention.qkv": 36, "attention.proj": 12, "mlp.fc1": 10, "mlp.fc2": 12},
    "affine": {"conv1": 8, "conv2": 6},
    "chain": {"conv": 8, "depthwise": 8},
    "pooled": {"conv": 8, "add": 8},
}
EXPANDED = {
    "inputs_width": ["patches", "attention.qkv", "attention.proj", "mlp.fc2"],
    "affine": ["bn"],
    "chain": ["bn2"],
    "pooled": ["conv", "add"],
}


@pytest.fixture(scope="module", params=MAKERS)
def case(request):
    net = prune.wrap(MAKERS[request.param](), SIZE)
    return request.param, net, prune.prune(net, prune.plan(net, rate=0.5, residual="scatter"))


def test_layers_lose_filters_alone_and_what_needs_them_reads_zeros(case):
    name, _, outcome = case
    assert {layer: len(kept) for layer, kept in outcome.kept.items()} == KEPT[name]
    assert list(EXPANSIONS.placed(outcome.model)) == EXPANDED[name]
    assert HELD in outcome.notes
    assert outcome.difference < 1e-12
    silent = MAKERS[name]().double()
    with torch.no_grad():
        for layer, kept in outcome.kept.items():  # by hand: rows, biases and norms of what left
            norm = {"conv1": "bn", "conv": "bn", "depthwise": "bn2"}.get(layer, "")
            for module in map(silent.get_submodule, [layer, *([norm] if hasattr(silent, norm) else [])]):
                gone = sorted(set(range(len(module.weight))) - set(kept))
                module.weight[gone] = 0
                if module.bias is not None:
                    module.bias[gone] = 0
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean[gone] = 0
        wide, thin = silent(IMAGES), outcome.model.double()(IMAGES)
    outcome.model.float()
    torch.testing.assert_close(thin, wide, rtol=1e-10, atol=1e-12)


def test_it_is_saved_loaded_trained_and_pruned_again(case, tmp_path):
    name, _, outcome = case
    arch = f"{'token_networks' if name == 'inputs_width' else 'test_scatter_held'}:make_{name}"
    save_network(tmp_path / "thin.hdf5", replace(outcome.network, arch=arch))
    again = load_network(tmp_path / "thin.hdf5", arch, input_size=SIZE)
    images = IMAGES.float()
    with torch.no_grad():
        assert torch.equal(again.model(images), outcome.model.eval()(images))
    again.model.train()(images).square().mean().backward()
    assert all(p.grad is not None for p in again.model.parameters())
    again.model.eval()
    thinner = prune.prune(again, prune.plan(again, rate=0.5, residual="scatter"))
    assert thinner.difference < 1e-12
    assert thinner.after.macs < outcome.after.macs


def test_reach_counts_what_scatter_can_do(case):
    _, net, _ = case
    modes = prune.reach(net).modes
    assert modes["scatter"].share > modes["internal"].share + 0.05


@pytest.mark.parametrize(("name", "most"), [("inputs_width", 0.97), ("affine", 0.8)])
def test_what_stays_is_solved_again(name, most):
    net = prune.wrap(MAKERS[name](), SIZE)
    images = torch.randn(512, *SIZE, generator=torch.Generator().manual_seed(2))
    unseen = torch.randn(64, *SIZE, generator=torch.Generator().manual_seed(3))
    outcome = prune.prune(net, prune.plan(net, rate=0.5, residual="scatter"))
    with torch.no_grad():
        whole = net.model(unseen)
        cut = (outcome.model(unseen) - whole).square().mean()
        prune.compensate(net, outcome, [images])
        mended = (outcome.model.eval()(unseen) - whole).square().mean()
    assert mended < most * cut


def test_where_nothing_is_held_nothing_is_copied():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    net = prune.wrap(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)), SIZE)
    outcome = prune.prune(net, prune.plan(net, rate=0.5, residual="scatter"))
    assert not EXPANSIONS.placed(outcome.model)
    assert HELD not in outcome.notes
    assert outcome.model[-1].out_features == 4
