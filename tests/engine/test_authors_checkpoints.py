"""Checkpoints of HRank, HRankPlus, FilterSketch and FPGM become ours and compute what they computed."""

import sys
from collections import Counter, OrderedDict
from types import ModuleType

import authors_cifar as cifar
import numpy as np
import pytest
import torch
from authors_checkpoints import CASES, FPGM20, HRANK20, LONG, inceptions, vgg
from prune.engine import criteria
from prune.engine.allocations.rate import Rate
from prune.engine.conversion import convert
from prune.engine.errors import FitError
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.files import load_network, save_network
from prune.weights.formats import write_any
from soaked import often

torch.set_num_threads(1)


class RecorderMeter:
    """What FPGM keeps beside the weights: not a tensor, and no class that is known here."""

    def __init__(self):
        self.epoch_losses = np.zeros((3, 2), dtype=np.float32)
        self.best = np.float64(1.5)


@pytest.fixture
def recorder(monkeypatch):
    module = ModuleType("utils")
    module.RecorderMeter = RecorderMeter  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(RecorderMeter, "__module__", "utils")
    monkeypatch.setitem(sys.modules, "utils", module)
    return RecorderMeter()


def wrapped(state, recorder):
    """As HRank and FPGM save them, all at once."""
    prefixed = OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    milestones = {"milestones": Counter([5, 10])}
    best = {"best_prec1": torch.tensor(93.5), "recorder": recorder, "cfg": [64, "M"]}
    return {"epoch": 3, "arch": "x", "state_dict": prefixed, "scheduler": milestones, **best}


def converted(folder, content, **options):
    """Save, convert, write, load."""
    torch.save(content, folder / "theirs.pth")
    made = convert(folder / "theirs.pth", **options)
    write_any(made.destination, made.weight_file)
    return made, load_network(made.destination)


@pytest.mark.parametrize("case", often(CASES, but=LONG))
def test_a_checkpoint_is_recognised_and_keeps_its_logits(case, tmp_path, recorder):
    arch, build, logits = CASES[case]
    state = build()
    side = 64 if arch in ("resnet50", "mobilenet_v1", "mobilenet_v2") else 32
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    made, network = converted(tmp_path, wrapped(state, recorder))
    assert network.arch == arch
    assert made.destination.name == "theirs.hdf5"
    with torch.no_grad():
        expected, found = logits(state, images), network.model(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def hrank_masked(state, pruned, followers):
    """Zero filters as HRank's mask does: the convolution, and the BN behind it; its running mean stays.

    Args:
        pruned: convolution -> its zero filters.
        followers: convolution -> (BN, where its channels start there); DenseNet has several.
    """
    for name, filters in pruned.items():
        for slot in ("weight", "bias"):
            if f"{name}.{slot}" in state:
                state[f"{name}.{slot}"][filters] = 0
        for norm, start in followers(name):
            for slot in ("weight", "bias"):
                state[f"{norm}.{slot}"][[start + f for f in filters]] = 0


def dense_followers(name):
    """Every BN that sees what a convolution of DenseNet-40 has grown."""
    if name == "conv1":
        at, number, start = -1, 1, 0
    elif name.startswith("trans"):
        at, number, start = -1, int(name[5]) + 1, 0
    else:
        number, at = int(name[5]), int(name.split(".")[1])
        start = (24, 168, 312)[number - 1] + 12 * at
    later = [f"dense{number}.{layer}.bn1" for layer in range(at + 1, 12)]
    return [(norm, start) for norm in [*later, f"trans{number}.bn1" if number < 3 else "bn"]]


MASKED = {
    "vgg16_bn": (
        lambda: cifar.hrank_vgg(vgg([0.0] * 13)),
        cifar.hrank_vgg_logits,
        {"features.conv0": list(range(60)), "features.conv11": [0, 5, 511]},
        lambda name: [(name.replace("conv", "norm"), 0)],
        {
            "stem.conv1.conv.weight": (4, 3),
            "stem.conv10.conv.weight": (512, 509),
            "stem.conv2.conv.weight": (64, 4),
        },
    ),
    "densenet40": (
        lambda: cifar.densenet(24, [12, 12, 12], [168, 312]),
        cifar.densenet_logits,
        {"conv1": [2], "dense1.3.conv1": [0, 11], "trans1.conv1": [7, 100], "dense3.11.conv1": [1, 2, 3]},
        dense_followers,
        {
            "dense1.layer3.conv.weight": (10, 59),
            "transition1.conv.weight": (166, 165),
            "linear.weight": (10, 453),
        },
    ),
    "googlenet": (
        lambda: cifar.googlenet(192, inceptions()),
        cifar.googlenet_logits,
        {"pre_layers.0": [0, 191], "inception_a3.branch5x5.3": [4], "inception_c4.branch_pool.1": [1, 9]},
        lambda name: [(f"{name[:-1]}{int(name[-1]) + 1}", 0)],
        {
            "inception_a3.branch5x5.conv3.conv.weight": (32, 31),
            "inception_d4.branch1x1.conv1.conv.weight": (112, 510),
        },
    ),
}


@pytest.mark.parametrize(
    "arch",
    often(MASKED, but=["googlenet"]),  # of its branches each is masked as VGG is
)
def test_a_checkpoint_masked_by_hrank_narrows(arch, tmp_path):
    build, logits, pruned, followers, shapes = MASKED[arch]
    state = build()
    hrank_masked(state, pruned, followers)
    made, network = converted(tmp_path, {"state_dict": state})
    assert network.arch == arch
    assert made.destination.name == "theirs-narrow.hdf5"
    found = {name: tuple(tensor.shape[:2]) for name, tensor in network.model.state_dict().items()}
    assert {name: found[name] for name in shapes} == shapes
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = logits(state, images)
        torch.testing.assert_close(network.model(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("residual", ["coupled", "scatter"])
def test_a_residual_network_masked_by_hrank_narrows_further_with_scatter(residual, tmp_path):
    state = HRANK20.state(16, (16, 32, 64), (16, 32, 64))
    pruned = {
        "layer1.0.conv1": [3],
        "layer2.1.conv1": [0, 31],
        "layer2.1.conv2": [0, 1, 2],
        "layer3.0.conv2": [63],
    }
    hrank_masked(state, pruned, lambda name: [(name.replace("conv", "bn"), 0)])
    _, network = converted(tmp_path, state, residual=residual)
    found = network.model.state_dict()
    assert tuple(found["stage2.block1.conv1.conv.weight"].shape[:2]) == (30, 32)
    ends = [len(found[f"stage{at}.conv2.conv.weight"]) for at in ("2.block1", "3.block0")]
    assert ends == ([29, 63] if residual == "scatter" else [32, 64])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.model(images), HRANK20.logits(state, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("stem", "streams", "residual"),
    [
        (16, (13, 26, 64), "internal"),
        (16, (13, 26, 64), "coupled"),
        pytest.param(16, (13, 26, 64), "scatter", marks=pytest.mark.soak),  # shortcuts as with `internal`
        pytest.param(11, (16, 9, 64), "internal", marks=pytest.mark.soak),
        (11, (16, 9, 64), "coupled"),
        (11, (16, 9, 64), "scatter"),
    ],
)
def test_hrankplus_streams_can_be_pruned_further(stem, streams, residual, tmp_path):
    """Shortcuts that leave channels out or fill some up are followed like any other."""
    _, network = converted(tmp_path, HRANK20.state(stem, streams, (13, 26, 52)))
    traced = trace(network.model, network.input_size)
    scores = criteria.score("l1", network.model, traced)
    allocation = Rate(rate=0.4, residual=residual)
    pruned = prune_network(network, allocation, scores, traced=traced)
    assert pruned.difference < 1e-6
    assert pruned.after.macs < 0.8 * pruned.before.macs
    save_network(tmp_path / "narrow.hdf5", pruned.network)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        again = load_network(tmp_path / "narrow.hdf5").model(images)
        assert torch.equal(again, pruned.network.model(images))


def test_a_branch_that_is_narrower_than_its_stream_is_refused_by_name(tmp_path):
    """FPGM's small ResNets keep their indices elsewhere: the file does not say which channels are meant."""
    state = FPGM20.state(16, (16, 32, 64), (10, 20, 40))
    for slot in ("weight", "bias", "running_mean", "running_var"):
        state[f"stage_2.1.bn_b.{slot}"] = state[f"stage_2.1.bn_b.{slot}"][:20]
    state["stage_2.1.conv_b.weight"] = state["stage_2.1.conv_b.weight"][:20]
    with pytest.raises(FitError, match=r"does not go with arch 'resnet20': .* in 'stage2\.block1\.merge'"):
        converted(tmp_path, state)


def test_what_thop_leaves_in_a_network_is_no_weight(tmp_path):
    state = HRANK20.state(16, (16, 32, 64), (9, 19, 38))
    counters = {f"{at}total_ops": torch.zeros(1) for at in ("", "conv1.", "layer1.0.bn1.")}
    _, network = converted(tmp_path, {**state, **counters})
    assert network.arch == "resnet20"


@pytest.mark.parametrize(
    "case",
    often(
        (case for case in CASES if CASES[case][0] in ("vgg16_bn", "vgg16", "densenet40", "googlenet")),
        but=LONG,
    ),
)
def test_names_return(case, tmp_path):
    """Into ours and back into theirs, tensor by tensor."""
    _, build, _ = CASES[case]
    state = build()
    style = {"vgg16_bn": "hrank-vgg", "vgg16": "fpgm-vgg"}.get(CASES[case][0], f"hrank-{CASES[case][0]}")
    made, _ = converted(tmp_path, state)
    back = convert(made.destination, style=style.removesuffix("40")).weight_file.tensors
    assert list(back) == list(state)
    assert all(np.array_equal(back[name], tensor.numpy()) for name, tensor in state.items())
