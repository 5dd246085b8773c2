"""Masked files become narrow and compute what they computed; what still speaks stays."""

import pytest
import torch
from prune.archs import registry
from prune.engine import criteria
from prune.engine.allocations.rate import Rate
from prune.engine.conversion import convert, dead_channels
from prune.engine.errors import EngineError
from prune.engine.graph.trace import trace
from prune.engine.narrowing.surgery import mask
from prune.engine.network.files import load_network, save_network
from prune.engine.network.network import Network
from prune.engine.selection.allocation import Prunable
from prune.weights.formats import write_any
from torch import nn

SIZE = (3, 32, 32)
IMAGES_NCHW = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def network():
    torch.manual_seed(1)
    model = registry.get("resnet20").build(10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, 0.1, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
    return Network(model, "resnet20", 10, SIZE)


def narrowed(network, folder):
    """Save, convert, write, load; and check that the logits are the same."""
    save_network(folder / "masked.hdf5", network)
    made = convert(folder / "masked.hdf5")
    write_any(made.destination, made.weight_file)
    with torch.no_grad():
        expected = network.model(IMAGES_NCHW)
        found = load_network(made.destination).model(IMAGES_NCHW)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    return made


def silence(unit, positions):
    """Zero filters as pruning tools do: convolution and BN, whose running mean stays."""
    for tensor in (unit.conv.weight, unit.bn.weight, unit.bn.bias):
        with torch.no_grad():
            tensor[positions] = 0


@pytest.mark.parametrize("residual", ["internal", "coupled"])
def test_a_file_masked_by_l1_narrows_to_what_was_chosen(network, residual, tmp_path):
    channel_map = trace(network.model, SIZE).map
    scores = criteria.score("l1", network.model, trace(network.model, SIZE))
    state = network.model.state_dict()
    removed = Rate(rate=0.4, residual=residual).select(Prunable(map=channel_map), scores).removed
    network.model.load_state_dict(mask(state, channel_map, removed))
    made = narrowed(network, tmp_path)
    assert made.destination.name == "masked-narrow.hdf5"
    for layer in channel_map.layers:
        kept = len(channel_map.kept(layer.name, removed))
        assert made.weight_file.tensors[layer.weight].shape[0] == kept


def test_running_means_of_a_silenced_filter_do_not_matter(network, tmp_path):
    silence(network.model.stage1.block0.conv1, [2, 5])
    made = narrowed(network, tmp_path)
    assert made.weight_file.tensors["stage1.block0.conv1.conv.weight"].shape[0] == 14


def test_a_bias_that_still_speaks_keeps_its_filter(network, tmp_path):
    with torch.no_grad():
        network.model.stage1.block0.conv1.conv.weight[2] = 0
    channel_map = trace(network.model, SIZE).map
    assert dead_channels(network.model.state_dict(), channel_map) == frozenset()


def test_a_shortcut_that_copies_a_living_channel_keeps_it(network, tmp_path):
    """Stream channel 9 of stage 2 gets channel 1 of stage 1; channel 0 gets nothing but branches."""
    for block in network.model.stage2:
        silence(block.conv2, [0, 9])
    made = narrowed(network, tmp_path)
    assert made.weight_file.tensors["stage2.block1.conv1.conv.weight"].shape[1] == 31


def test_the_last_filter_of_a_dead_layer_stays(network, tmp_path):
    silence(network.model.stage1.block0.conv1, list(range(16)))
    made = narrowed(network, tmp_path)
    assert made.weight_file.tensors["stage1.block0.conv1.conv.weight"].shape[0] == 1


def test_a_norm_without_affine_part_makes_a_silent_filter_speak():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))

    model = Plain().eval()
    with torch.no_grad():
        model.conv.weight[1:3] = 0
    model.norm.running_mean[1] = -1.0
    channel_map = trace(model, SIZE).map
    dead = dead_channels(model.state_dict(), channel_map)
    assert dead == {int(channel_map.layer("conv").out_ids[2])}


def test_an_unknown_format_is_answered_by_the_nearest(tmp_path):
    with pytest.raises(EngineError, match=r"no format 'pht'; did you mean 'pth'\?"):
        convert(tmp_path / "a.hdf5", to="pht")
