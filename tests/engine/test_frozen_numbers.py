"""A number of channels that a network's code holds on to: whoever asks what leaves is told the same."""

import gc
import weakref

import prune
import pytest
import torch
from prune.engine.allocations.budget import Budget
from prune.engine.allocations.rate import Rate
from prune.engine.graph import known
from prune.engine.modules.inputs import inputs_of
from prune.engine.narrowing import crashes, narrowing
from prune.engine.narrowing.pruning import forecast, prune_network
from prune.engine.network.network import Network
from torch import Tensor, nn

SIZE = (3, 8, 8)


class Frozen(nn.Module):
    """The second convolution's 16 channels are written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 16, 3), nn.Conv2d(16, 12, 1)
        self.fc = nn.Linear(12 * 16, 10)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        two = self.two(self.one(images_NCHW).relu()).relu()
        return self.fc(self.three(two.view(-1, 16, 4, 4)).relu().flatten(1))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return prune.wrap(Frozen().eval(), SIZE)


@pytest.mark.parametrize("allocation", [Rate(rate=0.5), Budget(flops=0.6)], ids=["rate", "budget"])
def test_the_forecast_is_what_pruning_does(network, allocation):
    expected = forecast(network, allocation)
    weights = network.model.state_dict()
    scores = {name: weights[f"{name}.weight"].abs().sum((1, 2, 3)) for name in ("one", "two", "three")}
    outcome = prune_network(network, allocation, scores)
    if allocation.widths_depend_on_scores:  # a little: by a channel here or there
        assert expected.after.macs == pytest.approx(outcome.after.macs, rel=0.02)
    else:
        assert expected.after == outcome.after
    assert expected.selection.counts.keys() == outcome.counts.keys() == {"one", "three"}
    assert expected.notes == outcome.notes
    assert "without channels of two the network fails" in expected.notes[0]
    assert set(outcome.pinned) == {"two"}


def test_python_callers_are_told_in_every_place(network):
    groups = {group.name: group for group in prune.trace(network).map.groups}
    assert len(groups["two"].pinned) == 16
    assert not groups["one"].pinned
    assert not groups["three"].pinned
    plan = prune.plan(network, rate=0.5)
    assert "two" not in plan.groups
    thin = prune.prune(network, plan)
    assert "without channels of two" in thin.pinned["two"]
    assert thin.pinned.keys() == {"two"}
    assert any(note.startswith("left alone: without channels of two") for note in thin.notes)


def test_one_network_is_followed_once(network, monkeypatch):
    traced = []
    for module in (known, narrowing):
        trace = module.trace
        monkeypatch.setattr(module, "trace", lambda *args, trace=trace: traced.append(args) or trace(*args))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(8 * 16, 5))
    net = prune.wrap(model, SIZE)
    prune.count(net)
    thin = prune.prune(net, prune.plan(net, rate=0.5))
    assert len(traced) == 2, "the network, and the narrow one"
    assert prune.count(thin).macs == thin.after.macs
    with torch.no_grad():
        model[0].weight.mul_(2)
    again = prune.prune(net, prune.plan(net, rate=0.5))
    assert len(traced) == 3, "of the two networks only the first narrow one was asked about again"
    assert again.difference < 1e-12
    model[1] = nn.Tanh()
    prune.count(net)
    assert len(traced) == 4
    model[1].register_forward_hook(lambda *args: 2 * args[-1])
    prune.count(net)
    assert len(traced) == 5


def test_values_are_proven_on_small_images_where_that_works(monkeypatch):
    sizes = []
    difference = narrowing.value_difference
    monkeypatch.setattr(
        narrowing,
        "value_difference",
        lambda *args: sizes.append(args[-1].args[0].shape[2]) or difference(*args),
    )
    convs = [nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()]
    pooled = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))
    fixed = nn.Sequential(*convs, nn.Flatten(), nn.Linear(6 * 45 * 45, 4))
    for model, seen in ((pooled, [48]), (fixed, [48, 96])):
        sizes.clear()
        net = prune.wrap(model, (3, 96, 96))
        assert prune.prune(net, prune.plan(net, rate=0.5)).difference < 1e-12
        assert sizes == seen


class Block(nn.Module):
    """Its code holds on to the number of its channels, or does not."""

    def __init__(self, held: int | None):
        super().__init__()
        self.one, self.two, self.held = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 6, 1), held

    def forward(self, x):
        hidden = self.one(x).relu()
        return x + self.two(hidden.view(-1, self.held, 9, 9) if self.held else hidden)


@pytest.mark.parametrize(
    ("held", "most"), [([8] * 40, 60), ([8, None, None, 8, *[None] * 8], 20), ([None] * 5 + [8] * 7, 40)]
)
def test_groups_alike_are_tried_together(monkeypatch, held, most):
    runs = []
    crash = crashes._crash
    monkeypatch.setattr(crashes, "_crash", lambda *args: runs.append(1) or crash(*args))
    blocks = [Block(one) for one in held]
    last = [nn.Conv2d(6, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4)]
    model = nn.Sequential(nn.Conv2d(3, 6, 1), *blocks, *last)
    net = prune.wrap(model, (3, 9, 9))
    thin = prune.prune(net, prune.plan(net, rate=0.5))
    assert [block.one.out_channels for block in thin.model[1:-4]] == [one or 4 for one in held]
    assert thin.model[-4].out_channels == 5
    assert len(runs) <= most
    assert thin.difference < 1e-12


class Holds(nn.Module):
    """Fails with an exception that its own frame keeps: both live until they are looked for."""

    def __init__(self):
        super().__init__()
        self.conv, self.seen = nn.Conv2d(3, 4, 3), []

    def forward(self, x):
        made = self.conv(x)
        self.seen.append(weakref.ref(made))
        try:
            return made.view(-1, 5)[:, :, None, 7]
        except RuntimeError as error:
            kept = error  # noqa: F841
            raise


def test_a_crash_lets_go_of_what_it_computed_with():
    model = Holds().eval()
    gc.disable()
    try:
        assert crashes._failure(model, inputs_of((3, 8, 8)))
        assert all(held() is None for held in model.seen)
    finally:
        gc.enable()
