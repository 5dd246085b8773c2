"""Networks in wrappers, and weights that are computed from others: both are taken off."""

import warnings

import prune
import pytest
import torch
from prune.engine.errors import FitError
from prune.engine.modules.plain import fold, plain, unwrapped
from soaked import often
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils import prune as masks

SIZE = (3, 12, 12)


def masked(layer):
    return masks.l1_unstructured(masks.random_unstructured(layer, "weight", 0.2), "weight", 0.3)


WAYS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old_weight_norm": weight_norm,
    "old_spectral_norm": spectral_norm,
    "masked": masked,
}


class Causal(nn.Module):
    """Two dilated causal convolutions in a residual sum, a transposed one, and a head."""

    def __init__(self, computed, num_classes=5):
        super().__init__()
        self.stem = computed(nn.Conv1d(3, 8, 1))
        self.one = computed(nn.Conv1d(8, 12, 3, padding=2))
        self.two = computed(nn.Conv1d(12, 8, 3, padding=4, dilation=2))
        self.up, self.fc = computed(nn.ConvTranspose1d(8, 6, 2, 2)), computed(nn.Linear(6, num_classes))

    def forward(self, x):
        x = self.stem(x.flatten(2))
        x = x + self.two(self.one(x)[..., :-2].relu())[..., :-4]
        return self.fc(self.up(x.relu()).mean(2))


def build(way, num_classes=5):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the old ways are deprecated, and everywhere
        return Causal(WAYS[way], num_classes)


def __getattr__(attribute):
    """`make_WAY`: a factory as users write it in `module:factory`."""
    way = attribute.removeprefix("make_")
    if way not in WAYS:
        raise AttributeError(attribute)
    return lambda num_classes=5: build(way, num_classes)


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


# Parametrizations are taken off in one way, whatever they compute, and what is old is by hooks of its own.
ONE_OF_EACH = ("weight_norm", "old_weight_norm", "masked")


@pytest.fixture
def net(way):
    torch.manual_seed(0)
    net = build(way)
    with torch.no_grad():
        net.train()(torch.randn(4, *SIZE))  # the old spectral norm computes its weight here
    return net.eval()


def test_computed_weights_become_plain_in_a_copy(net):
    x = torch.randn(2, *SIZE)
    before = net(x)
    copied, folded = plain(net)
    assert set(folded) == {f"{layer}.weight" for layer in ("stem", "one", "two", "up", "fc")}
    assert torch.allclose(copied(x), before, atol=1e-6)
    assert torch.equal(net(x), before)  # its own are computed still
    assert list(plain(net)[1]) == list(folded)
    assert type(copied.one) is nn.Conv1d
    assert isinstance(copied.one.weight, nn.Parameter)
    assert copied.one.weight.requires_grad
    assert plain(copied) == (copied, ())


@pytest.mark.parametrize(
    "way",
    often(WAYS, but={*WAYS} - {*ONE_OF_EACH}),
    indirect=True,
)
def test_a_network_with_computed_weights_is_pruned_says_so_and_loads_again(net, way, tmp_path):
    arch = f"test_plain:make_{way}"
    wrapped = prune.wrap(net, SIZE, arch=arch)
    thin = prune.prune(wrapped, prune.plan(wrapped, rate=0.5, residual="coupled"))
    assert thin.after.macs < 0.6 * thin.before.macs
    assert thin.difference < 1e-12
    assert "weight and 4 other weights are plain now" in " ".join(thin.notes)
    x = torch.randn(2, *SIZE)
    prune.save(tmp_path / "thin.hdf5", thin)
    loaded = prune.load(tmp_path / "thin.hdf5", arch)
    assert torch.allclose(loaded.model(x), thin.model(x), atol=1e-6)
    torch.save(net.state_dict(), tmp_path / "full.pth")  # as the network's own code keeps it
    full = prune.load(tmp_path / "full.pth", arch, input_size=SIZE)
    assert torch.allclose(full.model(x), net(x), atol=1e-6)
    assert full.made_plain


def test_only_what_is_plain_in_the_file_is_folded(net, way):
    fresh = build(way)
    assert fold(fresh, net.state_dict().keys()) == ()
    some = {f"one.{name}" for name in plain(net)[0].one.state_dict()} | {
        name for name in net.state_dict() if not name.startswith("one.")
    }
    assert fold(fresh, some) == ("one.weight",)
    assert set(fresh.state_dict()) == some


def test_what_was_copied_cannot_be_pruned_in_place():
    wrapped = prune.wrap(build("weight_norm"), SIZE)
    with pytest.raises(FitError, match=r"stem\.weight is computed from other weights.*without `in_place`"):
        prune.prune(wrapped, prune.plan(wrapped, rate=0.5), in_place=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")  # torch 2.11, of itself
@pytest.mark.parametrize(
    "wrapper", [nn.DataParallel, torch.compile, lambda m: nn.DataParallel(torch.compile(m))]
)
def test_wrappers_are_taken_off(wrapper):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(512, 4))
    assert unwrapped(net) is net
    wrapped = prune.wrap(wrapper(net), SIZE)
    assert wrapped.model is net
    thin = prune.prune(wrapped, prune.plan(wrapped, rate=0.5), in_place=True)
    assert thin.model is net
    assert net[0].out_channels == 4
