"""What the value proof looks at: linear layers, one by one, and not only what comes of them in the end."""

import copy

import pytest
import torch
from prune.engine.graph.trace import trace
from prune.engine.modules.inputs import Inputs
from prune.engine.narrowing.linears import LinearOutputs
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.narrowing.stand_ins import StandIns
from prune.engine.narrowing.values import value_difference
from torch import nn

ROWS = Inputs.like((torch.zeros(2, 6),))


class Blind(nn.Module):
    """A hidden layer whose outputs the network's answer hardly shows."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 12), nn.Linear(12, 3)
        with torch.no_grad():
            self.out.weight[:, 8:] = 0

    def forward(self, x):
        return self.out(self.hidden(x).relu())


def test_a_linear_layer_is_compared_though_no_answer_shows_it():
    torch.manual_seed(0)
    model = Blind().double().eval()
    thin = copy.deepcopy(model)
    with torch.no_grad():
        thin.hidden.bias[10] += 0.5
    x = torch.randn(2, 6, dtype=torch.float64)
    assert torch.equal(model(x), thin(x))
    assert value_difference(model, thin, trace(model, ROWS), (), x) > 0.05
    apart = (StandIns(model), StandIns(thin))
    assert value_difference(model, thin, trace(model, ROWS), (), x, apart) > 0.05


class Repeated(nn.Module):
    """A layer that is called as often as it is told."""

    def __init__(self):
        super().__init__()
        self.hidden, self.times = nn.Linear(6, 12), 1

    def forward(self, x):
        *_, made = (self.hidden(x) for _ in range(self.times))
        return made


@pytest.mark.parametrize(("wide", "thin"), [(2, 1), (1, 2)])
def test_a_layer_that_only_one_of_the_two_calls_again_is_passed_over(wide, thin):
    model = Repeated().double().eval()
    other, traced = copy.deepcopy(model), trace(model, ROWS)
    model.times, other.times = wide, thin
    assert value_difference(model, other, traced, (), torch.randn(2, 6, dtype=torch.float64)) == 0.0


def test_only_what_stays_is_compared():
    torch.manual_seed(0)
    model = Blind().eval()
    proven = narrow_proven(model, trace(model, ROWS), ROWS, lambda m: m.layer("hidden").out_ids[::2])
    assert proven.difference < 1e-12
    assert proven.model.hidden.out_features == 6


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_of_torch_is_passed_over(heads):
    """It multiplies below Python where all heads are there, and in code of ours where some have left."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, heads, 24, batch_first=True, dropout=0.0)
    takes = Inputs.like((torch.zeros(2, 5, 16),))
    traced = trace(layer.eval(), takes)
    gone = traced.map.layer("linear1").out_ids[:8]
    assert narrow_proven(layer, traced, takes, lambda _: gone).difference < 1e-12


def test_layers_of_one_weight_are_told_by_their_calls():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    watch = LinearOutputs(model, trace(model.eval(), ROWS).map, lambda weight, call, made: call)
    with watch:
        model(torch.zeros(2, 6))
    assert watch.made == {"0.weight": [0, 1], "3.weight": [0]}
