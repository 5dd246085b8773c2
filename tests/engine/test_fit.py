"""Stored shapes make a network; whatever does not go together is said by name."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from prune.archs import registry
from prune.archs.units import ConvBN
from prune.engine.errors import FitError
from prune.engine.modules.fit import fit
from prune.engine.network.files import load_network, save_network
from prune.engine.network.network import Network
from prune.weights.store import read
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
mini_networks = importlib.import_module("mini_networks")


def build() -> nn.Module:
    torch.manual_seed(3)
    return registry.get("resnet20").build(10).eval()


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return dict(build().state_dict())


@pytest.mark.parametrize("where", ["stage1.block0.shortcut", "stage2.block0.shortcut", "stage1.block1.merge"])
@pytest.mark.parametrize("index", [[-2, 0], [[0], [1]], 3, [0.0, 1.0], [True, False]])
def test_an_index_that_would_pick_other_channels_is_refused(state, where, index):
    """Python's negative positions, one number for all, masks: torch would take each of them."""
    with pytest.raises(FitError, match=rf"{where}\.index must be a list of channel positions"):
        fit(build(), {**state, f"{where}.index": torch.tensor(index)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("linear.bias"), r"linear\.bias is in the network but not in the file"),
        (lambda s: s.update(extra=torch.zeros(3)), "extra is in the file but not in the network"),
        (
            lambda s: s.update({"linear.weight": torch.zeros(10, 64, 1, 1)}),
            r"linear\.weight is \(10, 64, 1, 1\) in the file, \(10, 64\) in the network",
        ),
        (
            lambda s: s.update({"stage1.conv1.conv.weight": torch.zeros(16, 3, 5, 5)}),
            r"stage1\.conv1\.conv\.weight is \(16, 3, 5, 5\)",
        ),
        (
            lambda s: s.pop("stage1.conv1.bn.running_var"),
            r"stage1\.conv1\.bn\.running_var is missing, but stage1\.conv1\.bn\.weight is there",
        ),
        (
            lambda s: [
                s.pop(f"stage1.conv1.bn.{k}") for k in ("weight", "bias", "running_mean", "running_var")
            ],
            r"stage1\.conv1\.bn\.weight is missing, and stage1\.conv1\.conv has no bias",
        ),
    ],
)
def test_what_does_not_go_together_is_named(state, change, message):
    change(state)
    with pytest.raises(FitError, match=message):
        fit(build(), state)


def test_missing_counters_count_as_zero(state):
    given = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    model = fit(build(), given)
    assert model.stage1.conv1.bn.num_batches_tracked == 0
    assert model.stage1.conv1.bn.num_batches_tracked.dtype == torch.int64


def test_float64_tensors_are_cast_to_the_networks_type(state):
    model = fit(build(), {n: t.double() if t.is_floating_point() else t for n, t in state.items()})
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.linear.weight, state["linear.weight"])


def test_the_given_state_is_not_changed(state):
    given = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    before = list(given)
    fit(build(), given)
    assert list(given) == before


def test_narrow_tensors_resize_modules_and_their_records():
    unit = nn.Sequential(ConvBN(3, 8, 3), ConvBN(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8 * 16, 4))
    narrow = {
        name: tensor[:5] if name.split(".")[0] in "01" and tensor.dim() else tensor
        for name, tensor in unit.state_dict().items()
    }
    narrow["3.weight"] = narrow["3.weight"][:, : 5 * 16]
    fit(unit, narrow)
    first, depthwise, linear = unit[0], unit[1], unit[3]
    assert (first.conv.out_channels, first.bn.num_features) == (5, 5)
    assert (depthwise.conv.groups, depthwise.conv.in_channels, depthwise.conv.out_channels) == (5, 5, 5)
    assert linear.in_features == 80
    assert unit(torch.zeros(2, 3, 4, 4)).shape == (2, 4)


def test_a_folded_norm_becomes_nothing_and_its_conv_gets_the_bias():
    unit = nn.Sequential(ConvBN(3, 4, 3))
    weight_FCHW, bias_F = torch.randn(4, 3, 3, 3), torch.randn(4)
    fit(unit, {"0.conv.weight": weight_FCHW, "0.conv.bias": bias_F})
    assert isinstance(unit[0].bn, nn.Identity)
    images_NCHW = torch.randn(1, 3, 6, 6)
    expected = nn.functional.conv2d(images_NCHW, weight_FCHW, bias_F, padding=1)
    assert torch.equal(unit(images_NCHW), expected)


def test_tied_weights_are_saved_once_and_tied_again(tmp_path):
    source = mini_networks.build("SharedWeights")
    save_network(tmp_path / "tied.hdf5", Network(source, "mini_networks:make_SharedWeights", 5, (3, 16, 16)))
    stored = read(tmp_path / "tied.hdf5").tensors
    assert "one.weight" in stored
    assert "two.weight" not in stored
    name = "mini_networks:make_SharedWeights"
    again = load_network(tmp_path / "tied.hdf5", name, input_size=(3, 16, 16)).model
    assert again.one.weight is again.two.weight
    assert torch.equal(again.one.weight, source.one.weight)


def test_either_name_of_a_tied_tensor_is_enough():
    source = mini_networks.build("SharedWeights")
    given = dict(source.state_dict())
    weight_FCHW = given.pop("one.weight")
    model = fit(mini_networks.build("SharedWeights"), given)
    assert model.one.weight is model.two.weight
    assert torch.equal(model.one.weight, weight_FCHW)


class Versioned(nn.Module):
    """Takes a state without version for an old one, as torchvision's MNASNet does."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        assert local_metadata["version"] == 2
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_a_plain_mapping_is_in_todays_form():
    assert torch.equal(fit(Versioned(), {"scale": torch.zeros(3)}).scale, torch.zeros(3))


class TopPair(nn.Module):
    """A convolution and its batch norm at the network's own top level, called as a unit calls them."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


def test_a_pair_at_the_top_level_is_a_pair_like_any_other():
    state = {name: torch.rand_like(t.float()) for name, t in TopPair().state_dict().items()}
    fitted = fit(TopPair(), {**state, "bn.num_batches_tracked": torch.tensor(0)})
    assert torch.equal(fitted.bn.weight, state["bn.weight"])
    folded = {name: tensor for name, tensor in state.items() if not name.startswith("bn.")}
    assert isinstance(fit(TopPair(), folded).bn, nn.Identity)
    del state["bn.running_var"]
    with pytest.raises(FitError, match=r"^bn\.running_var is missing, but bn\.weight is there"):
        fit(TopPair(), state)
