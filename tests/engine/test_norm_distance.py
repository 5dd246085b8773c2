import pytest
import torch
from prune.engine.allocations import allocation_of
from prune.engine.allocations.norm_distance import NormDistance
from prune.engine.errors import AllocationError
from prune.engine.graph.trace import trace
from prune.engine.selection.allocation import Prunable
from torch import nn

torch.set_num_threads(1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 3, padding=1)
        self.conv1 = nn.Conv2d(20, 15, 3, padding=1)
        self.conv2 = nn.Conv2d(15, 20, 3, padding=1)
        self.linear = nn.Linear(20, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        x = (x + self.conv2(self.conv1(x).relu())).relu()
        return self.linear(x.mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Residual().eval()


@pytest.fixture(scope="module")
def network(model):
    return trace(model, (3, 8, 8)).map


def chosen_by_loop(weight_FCHW, rate_norm, rate_dist):
    """The two steps as the paper tells them, filter by filter."""
    rows = list(weight_FCHW.double().flatten(1))
    n = len(rows)
    by_norm = sorted(range(n), key=lambda f: rows[f].norm().item())[: int(n * (1 - rate_norm))]
    rest = [f for f in range(n) if f not in by_norm]
    total = {f: sum((rows[f] - rows[g]).norm().item() for g in rest) for f in rest}
    return set(by_norm) | set(sorted(rest, key=total.__getitem__)[: int(n * rate_dist)])


@pytest.mark.parametrize(("rate_norm", "rate_dist"), [(1.0, 0.4), (0.9, 0.2), (0.7, 0.0), (0.6, 0.5)])
def test_against_a_loop(model, network, rate_norm, rate_dist):
    allocation = NormDistance(rate_norm=rate_norm, rate_dist=rate_dist)
    selection = allocation.select(Prunable(map=network, weights=model.state_dict()), {})
    expected = chosen_by_loop(model.conv1.weight.detach(), rate_norm, rate_dist)
    assert set(range(15)) - set(network.kept("conv1", selection.removed).tolist()) == expected
    assert selection.counts == {"conv1": (15 - len(expected), 15)}


def test_a_stream_weighs_its_producers_alike(model, network):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    allocation = NormDistance(rate_norm=0.9, rate_dist=0.3, residual="coupled")
    before = allocation.select(Prunable(map=network, weights=state), {})
    state["conv2.weight"] *= 1000
    assert allocation.select(Prunable(map=network, weights=state), {}).removed == before.removed
    assert before.counts["stem"] == (20 - 1 - 6, 20)  # int(20 * (1 - 0.9)) is 1: 0.1 is not exact


@pytest.mark.parametrize(
    ("rate_norm", "rate_dist"), [(0.0, 0.1), (1.1, 0.1), (0.9, 1.0), (0.5, 0.5), (0.9, -0.1)]
)
def test_odd_rates_are_refused(rate_norm, rate_dist):
    with pytest.raises(AllocationError, match="rate-norm"):
        NormDistance(rate_norm=rate_norm, rate_dist=rate_dist)


def test_either_rate_may_be_left_out():
    assert NormDistance(rate_norm=0.8).shares == (0.8, 0.0)
    assert NormDistance(rate_dist=0.3).shares == (1.0, 0.3)
    with pytest.raises(AllocationError, match="neither share is given; give `rate_norm`/`rate_dist`"):
        NormDistance()


def test_a_distance_that_nobody_measures_is_refused():
    assert NormDistance(rate_dist=0.3, distance="cosine").distance == "cosine"
    with pytest.raises(AllocationError, match="no distance 'cos'; choose one of l2, l1, cosine"):
        allocation_of({"rate_dist": 0.3, "distance": "cos"})
    with pytest.raises(AllocationError, match="`distance` has no effect with `rate_norm`/`rate_dist`"):
        NormDistance(rate_norm=0.9, distance="l1")


def test_min_channels_stay(model, network):
    allocation = NormDistance(rate_norm=0.6, rate_dist=0.5, min_channels=7)
    selection = allocation.select(Prunable(map=network, weights=model.state_dict()), {})
    assert selection.counts == {"conv1": (7, 15)}
    assert selection.notes
