"""The probe: what it picks, and that nobody can tell it was there."""

import copy

import pytest
import torch
from prune.engine.training import precision as probing
from prune.engine.training.precision import Precision, choose_precision, time_ways
from torch import nn

IMAGES_NCHW, LABELS_N = torch.rand(8, 3, 8, 8), torch.arange(8)
WAYS = [Precision(bf16, last) for bf16 in (False, True) for last in (False, True)]


def test_the_probe_leaves_no_trace(net):
    model = net()
    model[1].eval()
    model(IMAGES_NCHW).sum().backward()
    state = copy.deepcopy(model.state_dict())
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    random_state = torch.get_rng_state()
    assert set(time_ways(model, IMAGES_NCHW, LABELS_N, WAYS)) == set(WAYS)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [module.training for module in model] == [i != 1 for i in range(len(model))]
    assert model[4].weight.is_contiguous()


@pytest.mark.parametrize(
    ("seconds", "choice"),
    [
        ((1.0, 0.95, 0.95, 0.92), Precision(False, False)),  # not worth it
        ((1.0, 0.8, 0.7, 0.6), Precision(True, True)),
        ((1.0, 0.8, 1.7, 1.6), Precision(False, True)),
    ],
)
def test_the_fastest_wins_if_it_wins_clearly(net, monkeypatch, seconds, choice):
    timings = dict(zip(WAYS, seconds, strict=True))
    monkeypatch.setattr(probing, "time_ways", lambda *_: timings)
    assert choose_precision(net(), IMAGES_NCHW, LABELS_N) == choice


def test_only_what_is_left_open_is_timed(net, monkeypatch):
    timed = []
    monkeypatch.setattr(
        probing, "time_ways", lambda *given: timed.append(given[3]) or dict.fromkeys(given[3], 1.0)
    )
    choose_precision(net(), IMAGES_NCHW, LABELS_N, precision="bf16")
    choose_precision(net(), IMAGES_NCHW, LABELS_N, channels_last=True)
    assert timed == [[WAYS[2], WAYS[3]], [WAYS[1], WAYS[3]]]
    assert choose_precision(net(), IMAGES_NCHW, LABELS_N, precision="bf16", channels_last=True) == WAYS[3]
    assert len(timed) == 2


def test_a_way_the_network_cannot_go_is_left_out():
    class FloatOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 8)

        def forward(self, images_NCHW):
            features_NCHW = self.conv(images_NCHW)
            if features_NCHW.dtype != torch.float32:
                raise RuntimeError("no such kernel")
            return features_NCHW.flatten(1)

    assert set(time_ways(FloatOnly(), IMAGES_NCHW, LABELS_N, WAYS)) == {WAYS[0], WAYS[1]}
