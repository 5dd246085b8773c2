"""Proofs where networks are: float64 and masks for a while, no copies, and copies where that cannot be."""

import prune
import pytest
import torch
from prune.engine import freed
from prune.engine.graph.trace import trace
from prune.engine.narrowing import narrowing, stand_ins
from prune.engine.narrowing.stand_ins import StandIns
from prune.engine.narrowing.surgery import mask
from prune.engine.network.fresh import new_network
from torch import nn
from torch.nn import functional as F

SIZE = (3, 16, 16)
IMAGES = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    def __init__(self, forward=lambda self, x: x) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.slope, self.attention = nn.PReLU(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc, self.twist = nn.Linear(8, 4), forward

    def forward(self, x):
        x = self.slope(self.bn(self.conv(x))).flatten(2).transpose(1, 2)
        return self.twist(self, self.fc(self.attention(x, x, x)[0].mean(1)))


def made(forward=lambda self, x: x):
    torch.manual_seed(1)
    return Net(forward).eval()


def test_a_network_computes_in_float64_and_stays_as_it_is():
    model = made()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad(), StandIns(model):
        found = model(IMAGES)
    with torch.no_grad():
        expected = made().double()(IMAGES)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("arch", ["resnet20", "densenet40"])
def test_masks_are_those_of_a_masked_copy(arch):
    network = new_network(arch)
    traced = trace(network.model, network.input_size)
    removed = {c for group in traced.map.groups for c in group.channels[group.free][::3].tolist()}
    images = torch.randn(2, *network.input_size, dtype=torch.float64)
    with torch.no_grad(), StandIns(network.model, traced.map, removed):
        found = network.model.eval()(images)
    copied = new_network(arch).model.double().eval()
    state = {
        name: t.double() if t.is_floating_point() else t for name, t in network.model.state_dict().items()
    }
    copied.load_state_dict(mask(state, traced.map, removed))
    with torch.no_grad():
        torch.testing.assert_close(found, copied(images), rtol=1e-12, atol=1e-12)


def copies(monkeypatch):
    """How often a network was copied for the proof of its values."""
    made, computing_in = [], narrowing.computing_in
    monkeypatch.setattr(narrowing, "computing_in", lambda *a, **k: made.append(a) or computing_in(*a, **k))
    return made


def pruned(model):
    network = prune.wrap(model, SIZE)
    return prune.prune(network, prune.plan(network, rate=0.5))


def test_nothing_is_copied_for_a_proof(monkeypatch):
    made_of = copies(monkeypatch)
    assert pruned(made()).difference < 1e-12
    assert not made_of


def test_code_that_asks_for_the_type_of_a_weight_is_told_float64(monkeypatch):
    made_of = copies(monkeypatch)

    def asking(self, x):
        return F.linear(x.to(self.fc.weight.dtype), self.fc.weight.detach() @ self.fc.weight.T)

    assert pruned(made(asking)).difference < 1e-12
    assert not made_of


def test_code_that_computes_in_one_type_alone_is_proven_on_copies(monkeypatch):
    made_of, fixed = copies(monkeypatch), torch.eye(4)
    assert pruned(made(lambda self, x: x @ fixed)).difference < 1e-4
    assert made_of


def test_memory_of_stand_ins_is_given_back_on_the_way(monkeypatch: pytest.MonkeyPatch):
    model, given_back = made(), list[None]()
    monkeypatch.setattr(stand_ins, "give_back", lambda: given_back.append(None))
    with torch.no_grad(), StandIns(model):
        expected = model(IMAGES)
    assert not given_back
    monkeypatch.setattr(stand_ins, "AT_ONCE", model.fc.weight.numel() * 8 - 1)
    with torch.no_grad(), StandIns(model):
        assert torch.equal(model(IMAGES), expected)
    assert len(given_back) >= 3  # of the convolution, of attention, of the last layer


@pytest.mark.parametrize("lacks", [OSError, AttributeError, TypeError])
def test_a_c_library_that_gives_nothing_back_is_left_alone(monkeypatch: pytest.MonkeyPatch, lacks: type):
    def none(name: None) -> None:
        raise lacks

    monkeypatch.setattr(freed.gc, "collect", lambda: 0)  # of all that other tests have left
    freed._glibc.cache_clear()
    monkeypatch.setattr(freed.ctypes, "CDLL", none)
    freed.collect()
    freed.keep()
    assert freed._glibc() is None
    freed._glibc.cache_clear()
