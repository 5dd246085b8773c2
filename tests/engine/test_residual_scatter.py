"""Scatter: branches narrow by themselves, proven, stored, loaded alone, folded and pruned again."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from prune.archs.units import Merge
from prune.engine.allocations.budget import Budget
from prune.engine.allocations.layer_rates import LayerRates
from prune.engine.allocations.rate import Rate
from prune.engine.conversion import convert
from prune.engine.criteria import score
from prune.engine.graph.cost import count
from prune.engine.graph.residual import COPIES, view
from prune.engine.graph.trace import trace
from prune.engine.modules.guests import EXPANSIONS
from prune.engine.narrowing.outcome import Outcome
from prune.engine.narrowing.pruning import forecast, prune_network
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.selection.allocation import Allocation
from prune.weights import formats
from torch import Tensor, nn

torch.set_num_threads(1)
SCATTERED = Rate(rate=0.4, residual="scatter")


def randomised(network: Network) -> Network:
    """Batch norms with constants of their own: on a fresh network even wrong indices would pass."""
    generator = torch.Generator().manual_seed(3)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
            assert module.running_var is not None
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network


@cache
def pruned(arch: str, allocation: Allocation = SCATTERED, size: int = 32) -> tuple[Network, Outcome]:
    """A network and what is left of it, which nobody here changes."""
    network = randomised(new_network(arch, num_classes=10, input_size=(3, size, size)))
    network.model.eval()
    scores = score("l1", network.model, trace(network.model, network.input_size))
    return network, prune_network(network, allocation, scores)


def images(network: Network) -> Tensor:
    return torch.randn(2, *network.input_size, generator=torch.Generator().manual_seed(0))


def masked_logits(network: Network, result: Outcome) -> Tensor:
    """The full network with every removed filter and its BN zeroed by name, written without a channel map."""
    model = copy.deepcopy(network.model)
    for name, kept in result.kept.items():
        conv = model.get_submodule(name)
        gone = np.setdiff1d(np.arange(len(conv.weight)), kept)
        norm = model.get_submodule(
            name.removesuffix("conv") + "bn" if name.endswith(".conv") else norm_of(name)
        )
        with torch.no_grad():
            for tensor in (conv.weight, norm.weight, norm.bias, norm.running_mean):
                tensor[gone] = 0
    with torch.no_grad():
        return model(images(network))


def folded_file(folder: Path, arch: str | None = None) -> None:
    done = convert(folder / "thin.hdf5", folder / "folded.hdf5", fold_bn=True, arch=arch)
    formats.write_any(done.destination, done.weight_file)


def norm_of(name: str) -> str:
    """torchvision's name for the BN behind a convolution."""
    return name.replace("downsample.0", "downsample.1").replace("conv", "bn")


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("resnet20", 32),
        ("small_networks:bottleneck", 32),
        ("small_networks:resnet_basic", 32),
        *(
            pytest.param(arch, 64, marks=pytest.mark.soak)  # as those above, of other or more blocks
            for arch in ("resnet18", "resnet50", "torchvision:resnet18")
        ),
    ],
)
def test_a_scattered_network_equals_the_masked_one_and_loads_alone(arch: str, size: int, tmp_path: Path):
    network, result = pruned(arch, size=size)
    thin = result.network
    assert result.after.macs < 0.55 * result.before.macs
    assert count(trace(thin.model, thin.input_size).map) == result.after
    with torch.no_grad():
        narrow = thin.model(images(network))
    torch.testing.assert_close(narrow, masked_logits(network, result), rtol=1e-4, atol=1e-4)

    path = tmp_path / "thin.hdf5"
    save_network(path, thin)
    code = f"""
import sys, torch, numpy
torch.set_num_threads(1)
from prune.engine.network.files import load_network
network = load_network(r"{path}", {arch if "small" in arch else None!r})
images = torch.randn(2, *network.input_size, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    numpy.save(r"{tmp_path / "logits.npy"}", network.model(images).numpy())
"""
    warm.run(["-c", code], tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), narrow.numpy())


def test_the_stem_and_the_projection_are_expanded_inside_the_addition():
    _, result = pruned("resnet20")
    state = result.network.model.state_dict()
    indices = [name for name in state if name.endswith("index")]
    assert "stage1.block0.merge.expand.index" in indices  # the stem's 10 of 16 channels
    assert state["stage1.block0.conv1.conv.weight"].shape[1] == 10
    assert state["stage1.block1.conv1.conv.weight"].shape[1] == 16
    assert not any("expand" in name for name in indices if not name.startswith("stage1.block0"))
    assert sum(name.endswith("merge.index") for name in indices) == 9
    _, result = pruned("small_networks:bottleneck")
    expanded = [name for name in result.network.model.state_dict() if "expand" in name]
    assert expanded == [f"stage{stage}.block0.merge.expand.index" for stage in (1, 2, 3, 4)]


def test_what_is_not_narrowed_keeps_the_plain_addition():
    _, result = pruned(
        "resnet20", LayerRates(layer_rates=("stage2.block1.conv2.conv=0.5",), residual="scatter")
    )
    indices = [name for name in result.network.model.state_dict() if name.endswith("index")]
    assert indices == ["stage2.block1.merge.index"]
    assert all(
        module.expand is None for module in result.network.model.modules() if isinstance(module, Merge)
    )


def test_another_networks_branches_are_expanded_by_a_copy_and_it_is_said():
    _, result = pruned("small_networks:resnet_basic")
    assert result.notes == (COPIES,)
    assert "layer1.0.bn2" in EXPANSIONS.placed(result.network.model)
    assert len(result.kept["conv1"]) == 64  # the stem's output is a stream itself
    _, internal = pruned("small_networks:resnet_basic", Rate(rate=0.4))
    assert internal.notes == ()


def test_one_channel_is_left_where_nearly_all_leave():
    _, result = pruned("resnet20", Rate(rate=0.99, residual="scatter"))
    assert {len(kept) for name, kept in result.kept.items()} == {1}


def test_scores_see_the_map_after_the_addition():
    """A branch's last conv is ranked after the addition in every mode: scoring knows the network as it is."""
    network = randomised(new_network("resnet20"))
    traced = trace(network.model, network.input_size)
    assert traced.taps["stage1.block0.conv2.conv"].op == "relu"
    opened = view(network.model, traced, network.input_size, "scatter").traced
    assert opened.taps["stage1.block0.conv2.conv"].op == "batch_norm"  # so it must not be asked


def test_a_scattered_network_is_pruned_again_and_folded(tmp_path: Path):
    network, result = pruned("resnet20")
    thin = result.network
    again = prune_network(thin, SCATTERED, score("l1", thin.model, trace(thin.model, thin.input_size)))
    assert again.after.macs < result.after.macs
    assert len(again.kept["stage1.block0.conv2.conv"]) == 6  # 16 - 6 = 10, 10 - 4
    save_network(tmp_path / "thin.hdf5", again.network)
    folded_file(tmp_path)
    with torch.no_grad():
        expected = load_network(tmp_path / "thin.hdf5").model(images(network))
        folded = load_network(tmp_path / "folded.hdf5")
        torch.testing.assert_close(folded.model(images(network)), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.model.modules())


def test_folding_keeps_the_expansions_of_other_networks(tmp_path: Path):
    network, result = pruned("small_networks:resnet_basic")
    save_network(tmp_path / "thin.hdf5", result.network)
    folded_file(tmp_path, network.arch)
    with torch.no_grad():
        expected = result.network.model(images(network))
        folded = load_network(tmp_path / "folded.hdf5", network.arch)
        torch.testing.assert_close(folded.model(images(network)), expected, rtol=1e-4, atol=1e-4)
    assert "layer1.0.bn2" in EXPANSIONS.placed(folded.model)


def test_a_shifted_index_is_found(monkeypatch: pytest.MonkeyPatch):
    """The value proof must notice a branch that goes to the wrong channels of its stream."""
    from prune.engine.errors import ProofError
    from prune.engine.narrowing import surgery

    right = surgery._renumbered

    def shifted(index, gone):
        values = right(index, gone)
        return np.roll(values, 1) if index.name == "stage1.block1.merge.index" else values

    monkeypatch.setattr(surgery, "_renumbered", shifted)
    with pytest.raises(ProofError, match="differs from the masked one"):
        pruned.__wrapped__("resnet20")


def test_the_budget_counts_branches():
    expected = forecast(new_network("resnet20"), Budget(flops=0.5, residual="scatter"))
    assert expected.before.macs == 40_551_040
    assert 0.49 < expected.after.macs / 40_551_040 <= 0.5
