"""A sketched network: what is new in it, what is as it was, and the file that holds it."""

import copy
import importlib
import sys
from pathlib import Path

import pytest
import torch
from prune.engine.algebra.frequent_directions import PROCEDURES, frequent_directions, sketch_channels
from prune.engine.errors import AllocationError, ProofError
from prune.engine.graph.trace import trace
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.sketching.targets import targets
from prune.engine.sketching.weights import sketch_weights
from prune.engine.transfers import sketch as transfer
from soaked import often
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
mini_networks = importlib.import_module("mini_networks")

# One of each kind of target, of what its channels go through, and of what is refused: to sketch the others
# is to cut them, which other tests do to each, and to fill what was cut as here.
KINDS = (
    *("Plain", "BiasWithoutBN", "NoAffineNorm", "Volumes", "Deformed", "Flatten7x7", "SqueezeExcite"),
    *("Inception", "HardCodedView", "WidthBranch", "WeightNorm", "FunctionalConv", "TiedClassifier"),
    *("InstanceNorms", "AuxiliaryHead", "PReLUPerChannel", "ChannelShuffle", "GroupNormPlain"),
    *("DenseConcat", "Grouped"),
)


def resnet8(input_size: int = 32) -> Network:
    return new_network("small_networks:resnet8", num_classes=10, input_size=input_size)


def mini(name: str) -> Network:
    return Network(mini_networks.build(name), f"mini_networks:make_{name}", 5, mini_networks.SIZE)


@pytest.mark.parametrize("name", often(mini_networks.NAMED, but={*mini_networks.NAMED} - {*KINDS}))
def test_any_network_is_sketched_and_stored_or_refused(name: str, sketch):
    """Targets get their widths unless the code refuses them; what is no target's stays to the bit."""
    network = mini(name)
    before = copy.deepcopy(network.model.state_dict())
    found, _ = targets(network.model, trace(network.model, network.input_size).map)
    keep_rate = f"[0.5]*{len(found) or 1}"
    if not found:
        with pytest.raises(AllocationError, match="can be sketched: "):
            sketch(network, keep_rate, start_conv="0")
        return
    notes, outcome = sketch(network, keep_rate, start_conv="0")
    assert outcome.difference <= (1e-6 if name == "WeightNorm" else 0)  # its weights are folded, in float32
    assert any("not re-estimated (there are no images)" in note for note in notes)
    for key, tensor in network.model.state_dict().items():
        assert torch.equal(tensor, before[key]), "the original has changed"

    counts = outcome.counts
    left_alone = any("left alone" in note for note in notes)
    touched = set()
    for target in found:
        kept, full = counts[target.name]
        assert (kept == full // 2) or left_alone
        if kept < full:
            touched |= {target.maker.weight, target.maker.bias, target.reader.weight}
            touched |= {key for key in before if key.rpartition(".")[0] in target.norms}
    after = outcome.network.model.state_dict()
    assert after.keys() == before.keys()
    for key in before.keys() - touched:
        assert torch.equal(after[key], before[key]), key
    for target in found:
        kept, full = counts[target.name]
        assert len(after[target.maker.weight]) == kept
        assert after[target.reader.weight].shape[1] * full == before[target.reader.weight].shape[1] * kept


def test_batch_norms_behind_sketches_start_anew(sketch):
    network = mini("Plain")
    state = sketch(network, "[0.5]")[1].model.state_dict()
    assert torch.equal(state["body.1.weight"], torch.ones(8))
    assert torch.equal(state["body.1.running_var"], torch.ones(8))
    assert not state["body.1.bias"].any()
    assert not state["body.1.running_mean"].any()
    assert torch.equal(state["stem.1.running_mean"], network.model.state_dict()["stem.1.running_mean"])


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_keeping_everything_changes_nothing(procedure, randomise, sketch):
    network = resnet8()
    randomise(network.model)
    _, outcome = sketch(network, "[1.0]*3", procedure=procedure, weight_norm="l2")
    narrow = outcome.model.state_dict()
    for name, tensor in network.model.state_dict().items():
        assert torch.equal(narrow[name], tensor), name


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_a_layer_sketched_both_ways_loses_filters_first(procedure):
    """The 3x3 of a bottleneck reads one target's channels and makes another's."""
    network = new_network("small_networks:bottleneck", num_classes=10, input_size=32)
    found, _ = targets(network.model, trace(network.model, network.input_size).map, network.block_of)
    first, second = found[:2]
    assert first.reader is second.maker
    state = network.model.state_dict()
    sketched = sketch_weights(state, {first: 16, second: 24}, procedure=procedure)
    rows_LD = frequent_directions(state[second.maker.weight].flatten(1), 24, procedure)
    filters_LCHW = rows_LD.reshape(24, 64, 3, 3).float()
    expected_LKHW = sketch_channels(filters_LCHW, 16, 64, procedure)
    assert torch.equal(sketched[second.maker.weight], expected_LKHW)
    assert sketched.keys() == {first.maker.weight, second.maker.weight, second.reader.weight}


def test_biases(sketch):
    """Zero before a batch norm; one more number of the row without one; a reader keeps its own."""
    network = mini("NoAffineNorm")
    state = network.model.state_dict()
    assert state["body.bias"].all()
    narrow = sketch(network, "[0.5]*3", start_conv="0")[1].model.state_dict()
    assert not narrow["body.bias"].any()
    narrow = sketch(network, "[0.5]+[1.0]*2", start_conv="0")[1].model.state_dict()
    assert torch.equal(narrow["body.bias"], state["body.bias"])

    network = mini("BiasWithoutBN")
    state = network.model.state_dict()
    narrow = sketch(network, "[0.5]*2")[1].model.state_dict()
    rows_ND = torch.cat([state["two.weight"].flatten(1), state["two.bias"][:, None]], 1)
    rows_LD = frequent_directions(rows_ND, 8).float()
    assert torch.equal(narrow["two.bias"], rows_LD[:, -1])


def test_weight_norm(sketch):
    state = sketch(resnet8(), "[0.5]*3", weight_norm="l2")[1].model.state_dict()
    for block in ("stage1.block0", "stage3.block0"):
        for conv in ("conv1", "conv2"):
            assert float(state[f"{block}.{conv}.conv.weight"].norm()) == pytest.approx(1, abs=1e-6)
    assert float(state["stage1.conv1.conv.weight"].norm()) != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_constant_weights(procedure, fill: float, sketch):
    """Zeros have no norm to divide by."""
    network = resnet8()
    for module in network.model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, fill)
    _, outcome = sketch(network, "[0.5]*3", procedure=procedure, weight_norm="l2")
    state = outcome.model.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert bool(state["stage1.block0.conv1.conv.weight"].any()) == bool(fill)


def test_weights_that_are_no_numbers(sketch):
    network = resnet8()
    next(network.model.parameters()).data[0] = float("nan")
    with pytest.raises(ProofError, match="is not finite"):
        sketch(network, "[0.5]*3")


@pytest.mark.usefixtures("few_digits")
def test_with_images_everything_is_measured_and_estimated(sketch):
    network = resnet8(input_size=16)
    notes, outcome = sketch(
        network, "[0.5]*3", data=True, recalibration=3, batch_size=64, procedure="released"
    )
    assert list(outcome.accuracies) == ["before", "pruned", "recalibrated"]
    assert notes == []
    assert outcome.network.accuracy["top1"] == outcome.accuracies["recalibrated"].top1
    variances = outcome.network.model.state_dict()["stage1.block0.conv1.bn.running_var"]
    assert not torch.equal(variances, torch.ones(8))
    step = outcome.network.history[-1]
    assert step["command"] == "prune"
    assert {key: step["options"][key] for key in ("method", "procedure", "keep_rate", "weight_norm")} == {
        "method": "sketch",
        "procedure": "released",
        "keep_rate": "[0.5]*3",
        "weight_norm": "none",
    }


@pytest.mark.usefixtures("few_digits")
def test_without_estimates_it_says_so(sketch):
    network = resnet8(input_size=16)
    notes, outcome = sketch(network, "[0.5]*3", data=True, recalibration=0)
    assert list(outcome.accuracies) == ["before", "pruned"]
    assert any("not re-estimated (`recalibrate` is 0)" in note for note in notes)


def test_a_file_that_holds_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch, sketch):
    """One number of one sketched weight is enough."""
    loaded = transfer.load_network

    def tampered(*args, **settings):
        network = loaded(*args, **settings)
        network.model.state_dict()["stage2.block0.conv1.conv.weight"][0, 0, 0, 0] += 0.01
        return network

    monkeypatch.setattr(transfer, "load_network", tampered)
    with pytest.raises(ProofError, match="the narrow network differs from its own file"):
        sketch(resnet8(), "[0.5]*3")
