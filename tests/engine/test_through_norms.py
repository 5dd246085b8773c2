"""Norms over all channels: they keep their channels, unless it is asked for that those may leave."""

import prune
import pytest
import torch
import torch.nn.functional as F
from prune.engine.errors import FitError, ProofError
from prune.engine.narrowing import norms as narrowed
from torch import nn

SIZE = (3, 16, 16)


class ChannelNorm(nn.LayerNorm):
    """Over the channels of NCHW, as ConvNeXt has it."""

    def forward(self, x):
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Net(nn.Module):
    """A residual stream with a norm of each kind, plain ones among them, and one that is always exact."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 16, 3, padding=1), ChannelNorm(16)
        self.one, self.group = nn.Conv2d(16, 24, 3, padding=1), nn.GroupNorm(1, 24)
        self.two, self.plain = nn.Conv2d(24, 16, 1), nn.GroupNorm(1, 16, affine=False)
        self.exact = nn.GroupNorm(4, 16)
        self.last, self.fc = nn.LayerNorm(16, elementwise_affine=False), nn.Linear(16, num_classes)

    def forward(self, x):
        x = self.first(self.stem(x)).tanh()
        x = self.exact(x + self.plain(self.two(F.gelu(self.group(self.one(x))))))
        return self.fc(self.last(x.mean((2, 3))))


def build(num_classes=5):
    torch.manual_seed(0)
    net = Net(num_classes)
    for module in (net.first, net.group, net.exact):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.uniform_(module.bias, -0.5, 0.5)
    return net.eval()


def by_hand(net, kept):
    """The full network, every norm over all channels normalising over those that `kept` says stay."""

    def over(x_NCHW, stay, weight=None, bias=None, axes=(1, 2, 3)):
        few = x_NCHW[:, stay]
        few = (few - few.mean(axes, keepdim=True)) / (few.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()
        if weight is not None:
            shape = (-1, *(1,) * (x_NCHW.dim() - 2))
            few = few * weight[stay].view(shape) + bias[stay].view(shape)
        return torch.zeros_like(x_NCHW).index_copy(1, stay, few)

    stem, one = (torch.tensor(kept[name]) for name in ("stem", "one"))

    def forward(x):
        x = over(net.stem(x), stem, net.first.weight, net.first.bias, axes=(1,)).tanh()
        y = F.gelu(over(net.one(x), one, net.group.weight, net.group.bias))
        x = net.exact(x + over(net.two(y), stem))
        return net.fc(over(x.mean((2, 3)) * _mask(16, stem), stem, axes=(1,)))

    return forward


def _mask(width, stay):
    return torch.zeros(width, dtype=torch.float64).index_fill(0, stay, 1)


def test_unasked_they_keep_their_channels_and_say_why():
    net = prune.wrap(build(), SIZE)
    reasons = {str(reason) for reason in prune.trace(net).map.pinned.values()}
    assert any("statistics over all channels at group_norm in group" in reason for reason in reasons)
    assert any("statistics over all channels at layer_norm in first" in reason for reason in reasons)


def test_asked_they_normalise_over_the_channels_that_stay(tmp_path):
    net = prune.wrap(build(), SIZE, arch="test_through_norms:build", through_norms=True)
    thin = prune.prune(net, prune.plan(net, rate=0.5, residual="coupled"))
    assert {name: len(filters) for name, filters in thin.kept.items()} == {"stem": 8, "one": 12, "two": 8}
    assert thin.difference < 1e-12
    assert any("statistics of those that stay" in note for note in thin.notes)
    assert thin.network.history[-1]["options"]["through_norms"] is True
    x = torch.randn(3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        wanted = by_hand(build().double(), thin.kept)(x)
        assert torch.allclose(thin.model.double()(x), wanted, atol=1e-9)
    prune.save(tmp_path / "thin.hdf5", thin)
    loaded = prune.load(tmp_path / "thin.hdf5", "test_through_norms:build")
    assert torch.allclose(loaded.model(x.float()), wanted.float(), atol=1e-4)


def test_the_proof_sees_statistics_of_other_channels(monkeypatch):
    """Were masked to mean what it means elsewhere, the narrow network would not equal it."""
    monkeypatch.setattr(narrowed.NarrowedNorms, "call", lambda *_: None)
    monkeypatch.setattr(narrowed.NarrowedNorms, "check", lambda _: None)
    net = prune.wrap(build(), SIZE, through_norms=True)
    with pytest.raises(ProofError, match="differs from the masked one"):
        prune.prune(net, prune.plan(net, rate=0.5, residual="coupled"))


def test_asked_of_a_network_without_such_norms():
    with pytest.raises(FitError, match="this one has none; leave it out"):
        prune.wrap(
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(3)), SIZE, through_norms=True
        )
