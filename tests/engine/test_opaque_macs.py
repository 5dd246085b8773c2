"""Modules that are cut around: their multiply-accumulates are counted in a run, and stay whatever leaves."""

from pathlib import Path

import prune
import pytest
import torch
from prune.cli.main import main
from torch import nn

SIZE = (3, 8, 8)
OF_BODY = 8 * 8 * 9 * 64 + 64 * 8 * 8 + 2 * 8 * 3  # a convolution, a linear layer by pixel, one called twice


class Body(nn.Module):
    """Its path depends on its input; it convolves, mixes channels, and attends, which is no layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Linear(8, 8)
        self.gate = nn.Linear(8, 3, bias=False)

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        x = self.mix(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        flat = x.flatten(2)
        x = x + (flat @ (flat.transpose(1, 2) @ flat).softmax(-1)).view_as(x)
        scale = self.gate(x.mean((2, 3))) + self.gate(x.amax((2, 3)))
        return x * scale.mean()


class Net(nn.Module):
    """A convolution, the body, two more convolutions, a pooled classifier; an auxiliary one in training."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem, self.body, self.mid = nn.Conv2d(3, 8, 3, padding=1), Body(), nn.Conv2d(8, 16, 1)
        self.last, self.fc, self.aux = (
            nn.Conv2d(16, 8, 1),
            nn.Linear(8, num_classes),
            nn.Linear(8, num_classes),
        )

    def forward(self, x):
        x = self.body(self.stem(x))
        aux = self.aux(x.mean((2, 3))) if self.training else None
        out = self.fc(self.last(self.mid(x).relu()).mean((2, 3)))
        return out if aux is None else (out, aux)


LAYERS = 64 * (8 * 27 + 16 * 8 + 8 * 16) + 5 * 8


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return prune.wrap(Net(), SIZE)


def test_they_are_counted_once_and_stay(net):
    cost = prune.count(net)
    assert cost.opaque == {"body": OF_BODY}
    assert cost.macs == LAYERS + OF_BODY
    thin = prune.prune(net, prune.plan(net, rate=0.5, skip=["last"]))
    assert thin.after.opaque == cost.opaque
    assert thin.after.macs == cost.macs - 64 * 8 * (8 + 8)
    assert thin.after.macs == prune.count(thin).macs


def test_they_count_for_a_budget(net):
    thin = prune.prune(net, prune.plan(net, flops=0.9))
    assert thin.after.macs <= 0.9 * (LAYERS + OF_BODY)


@pytest.mark.parametrize("command", [["flops"], ["inspect", "--channels"]])
def test_commands_say_so(command, capsys):
    words = ["--arch", "test_opaque_macs:Net", "--num-classes", "5", "--image-size", "8"]
    assert main([*command, *words]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "the MACs of body" in shown
    assert "are those of one run" in shown
