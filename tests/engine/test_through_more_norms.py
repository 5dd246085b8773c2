"""Channels that leave RMSNorms, norms written by hand and LocalResponseNorm: over those that stay."""

from pathlib import Path

import prune
import pytest
import torch
import torch.nn.functional as F
from prune.engine import schedules
from prune.engine.errors import ProofError, TrainingError
from prune.engine.modules.through import let_through, written_out
from prune.engine.narrowing import norms as narrowed
from torch import nn

SIZE = (3, 12, 12)


class ByHand(nn.Module):
    """As language models write it."""

    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(width) + 0.5), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class OnePlus(ByHand):
    """With weights around zero."""

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


class OverPixels(nn.Module):
    """Over the channels of NCHW."""

    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(1, width, 1, 1) + 0.5)

    def forward(self, x):
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt() * self.gain


class PixelNorm(nn.Module):
    """Of generators: without a weight."""

    def forward(self, x):
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Frozen(nn.Module):
    """It keeps the number of channels it was made with."""

    def __init__(self, width):
        super().__init__()
        self.scale, self.weight = width**0.5, nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.normalize(x, dim=-1) * self.scale * self.weight


def last(norm):
    """A norm of the last axis, for NCHW."""
    return nn.Sequential(Turn(0, 2, 3, 1), norm, Turn(0, 3, 1, 2))


class Turn(nn.Module):
    def __init__(self, *order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


NORMS = {
    "RMSNorm": lambda: last(nn.RMSNorm(16)),
    "RMSNorm-plain": lambda: last(nn.RMSNorm(16, elementwise_affine=False)),
    "by-hand": lambda: last(ByHand(16)),
    "one-plus": lambda: last(OnePlus(16)),
    "over-pixels": lambda: OverPixels(16),
    "pixel-norm": PixelNorm,
    "local-response": lambda: nn.LocalResponseNorm(5, alpha=1.0),
}


class Net(nn.Module):
    """A convolution, the norm twice over, another convolution, a classifier."""

    def __init__(self, norm):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3), norm
        self.body, self.fc = nn.Conv2d(16, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.norm(self.stem(x)).relu())
        return self.fc(self.body(x).relu().mean((2, 3)))


def build(name):
    torch.manual_seed(0)
    net = Net(NORMS[name]())
    for norm in net.modules():
        if isinstance(norm, nn.RMSNorm) and norm.weight is not None:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return net.eval()


def by_hand(num_classes=4):
    return build("by-hand")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture(params=NORMS)
def name(request):
    return request.param


def test_unasked_they_keep_their_channels(name):
    net = prune.wrap(build(name), SIZE)
    assert not prune.trace(net).map.groups[0].free.any()


def over(name, x, kept):
    """The same norm of a network that never had other channels than `kept`."""
    norm = build(name).double().norm
    for module in norm.modules():
        for slot, weight in list(module.named_parameters(recurse=False)):
            few = weight.index_select(weight.shape.index(16), kept)
            setattr(module, slot, nn.Parameter(few))
        if isinstance(module, nn.RMSNorm):
            module.normalized_shape = (len(kept),)
    return torch.zeros_like(x).index_copy(1, kept, norm(x.index_select(1, kept)))


def test_asked_they_normalise_over_those_that_stay(name):
    net = prune.wrap(build(name), SIZE, through_norms=True)
    thin = prune.prune(net, prune.plan(net, rate=0.5, skip=["body"]))
    assert (thin.model.stem.out_channels, thin.model.body.out_channels) == (8, 8)
    assert thin.difference < 1e-12
    kept, wide = torch.tensor(thin.kept["stem"]), build(name).double()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        y = over(name, over(name, wide.stem(x), kept).relu(), kept)
        wanted = wide.fc(wide.body(y).relu().mean((2, 3)))
        assert torch.allclose(thin.model.double()(x), wanted, atol=1e-9)


def test_narrow_they_load_and_train(tmp_path):
    net = prune.wrap(build("by-hand"), SIZE, arch="test_through_more_norms:by_hand", through_norms=True)
    thin = prune.prune(net, prune.plan(net, rate=0.5))
    prune.save(tmp_path / "thin.hdf5", thin)
    loaded = prune.load(tmp_path / "thin.hdf5", "test_through_more_norms:by_hand")
    x = torch.randn(2, *SIZE)
    assert torch.equal(loaded.model(x), thin.model(x))
    loaded.model.train()(x).sum().backward()


@pytest.mark.parametrize("name", ["by-hand", "local-response"], indirect=True)
def test_the_proof_sees_statistics_of_other_channels(name, monkeypatch):
    monkeypatch.setattr(narrowed, "normalised_alone", lambda module, x, kept: type(module).forward(module, x))
    net = prune.wrap(build(name), SIZE, through_norms=True)
    with pytest.raises(ProofError, match="differs from the masked one"):
        prune.prune(net, prune.plan(net, rate=0.5))


def test_what_is_no_norm_or_keeps_its_width_is_not_taken_for_one():
    others = [Frozen(16), nn.Softmax(1), nn.LayerNorm(16), Turn(0, 1), nn.ReLU(), nn.InstanceNorm2d(16)]
    model = nn.ModuleList(others)
    assert let_through(model) == 1  # the layer norm
    assert written_out(model) == {}


@pytest.mark.parametrize("schedule", ["soft", "hard", "layer-by-layer", "gradient-resetting"])
def test_schedules_that_train_with_masks_say_why_not(schedule):
    class Chooser:
        network = prune.wrap(build("by-hand"), SIZE, through_norms=True)

    with pytest.raises(
        TrainingError, match=rf"`schedule` {schedule}: .*\(`schedule` one-shot\) and finetune"
    ):
        schedules.get(schedule)().ready(Chooser(), None, None)
