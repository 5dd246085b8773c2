"""Real networks at half their FLOPs: narrow equals masked, the budget is met, the file alone is enough."""

import itertools

import pytest
import torch
from prune.archs import registry
from prune.engine import criteria
from prune.engine.allocations.budget import Budget
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.files import load_network, save_network
from prune.engine.network.network import Network
from torch import nn

# Per network the same family with fewer blocks, of which as much is asked; in `make soak` of both.
SMALL = {
    "resnet56": "resnet20",
    "vgg16_bn": "small_networks:vgg_bias",
    "vgg16": "small_networks:vgg",
    "densenet40": "small_networks:densenet10",
    "googlenet": "small_networks:googlenet_cifar",
    "torchvision:resnet50": "small_networks:resnet",
    "torchvision:densenet121": "small_networks:densenet",
    "torchvision:googlenet": "small_networks:googlenet",
    "torchvision:mobilenet_v2": "small_networks:mobilenet_v2",
    "torchvision:regnet_y_400mf": "small_networks:regnet_y",
    "torchvision:resnext50_32x4d": "small_networks:resnext",
    "torchvision:efficientnet_b0": "small_networks:efficientnet",
}
# In `make soak` alone: VGG as with biases; GoogLeNet as torchvision's, without auxiliary heads; ResNeXt as
# RegNet, whose blocks are grouped too; MobileNetV2 as EfficientNet, whose blocks also squeeze and excite.
SIBLINGS = {f"small_networks:{name}" for name in ("vgg", "googlenet_cifar", "resnext", "mobilenet_v2")}
# Crops, projections, blocks that gate what they add: in other networks nothing is added, so that `coupled`
# is `internal`, or it is added as in these.
COUPLED = {"resnet20", "small_networks:resnet", "small_networks:efficientnet"}
OFTEN = {(name, "internal") for name in SMALL.values() if name not in SIBLINGS} | {
    (name, "coupled") for name in COUPLED
}
FAMILIES = [
    pytest.param(*case, marks=[] if case in OFTEN else [pytest.mark.soak])
    for case in itertools.product(dict.fromkeys([*SMALL.values(), *SMALL]), ["internal", "coupled"])
]
HARDER = {
    "torchvision:shufflenet_v2_x1_0": 64,
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:squeezenet1_1": 64,
    "torchvision:mnasnet0_5": 64,
    "torchvision:inception_v3": 299,
    "torchvision:efficientnet_v2_s": 64,
    "torchvision:convnext_tiny": 64,
    "torchvision:swin_t": 64,
    "torchvision:vit_b_16": 224,
}


def randomised(name: str, size: int) -> Network:
    """A network whose BN affine parts and statistics are random: wrong indices cannot hide."""
    torch.manual_seed(0)
    model = registry.get(name).build(10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return Network(model, name, 10, (3, size, size))


def halved(network: Network, residual: str):
    traced = trace(network.model, network.input_size)
    scores = criteria.score("l1", network.model, traced)
    return prune_network(network, Budget(flops=0.5, residual=residual), scores, traced=traced)


@pytest.mark.parametrize(("name", "residual"), FAMILIES)
def test_family_prunes_to_half_its_flops(name, residual, tmp_path):
    pruned = halved(randomised(name, 64 if ":" in name else 32), residual)
    assert pruned.difference < 1e-6
    assert 0.45 < pruned.after.macs / pruned.before.macs <= 0.5
    assert not any("left alone" in note for note in pruned.notes)

    save_network(tmp_path / "narrow.hdf5", pruned.network)
    own = name.startswith("small_networks:")  # which no file may import by itself
    again = load_network(tmp_path / "narrow.hdf5", name if own else None)
    images_NCHW = torch.randn(2, *again.input_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again.model(images_NCHW), pruned.network.model(images_NCHW))
    really = trace(again.model, again.input_size)
    assert count(really.map).macs == pruned.after.macs
    if residual == "internal":  # a narrow network is a network: it can be pruned again
        scores = criteria.score("l1", again.model, really)
        twice = prune_network(again, Budget(flops=0.8), scores, traced=really)
        assert twice.difference < 1e-6
        assert twice.after.macs <= 0.8 * pruned.after.macs


@pytest.mark.parametrize("depth", [20, *(pytest.param(n, marks=pytest.mark.soak) for n in (32, 44, 56, 110))])
def test_streams_behind_option_a_shrink(depth):
    """All three streams lose channels, and every member of a stream the same ones."""
    pruned = halved(randomised(f"resnet{depth}", 32), "coupled")
    shapes = {name: tuple(p.shape) for name, p in pruned.network.model.named_parameters()}
    widths = {}
    for stage, full in ((1, 16), (2, 32), (3, 64)):
        members = [n for n in shapes if n.startswith(f"stage{stage}.") and n.endswith("conv2.conv.weight")]
        assert len(members) == (depth - 2) // 6
        (widths[stage],) = {shapes[name][0] for name in members}
        assert 0 < widths[stage] < full
    assert shapes["stage1.conv1.conv.weight"][0] == widths[1]
    assert shapes["linear.weight"][1] == widths[3]
    assert pruned.difference < 1e-6


@pytest.mark.parametrize(
    ("name", "classes", "macs", "params"),
    [("resnet56", 10, 125_485_696, 853_018), ("torchvision:resnet50", 1000, 4_089_184_256, 25_557_032)],
)
def test_costs_are_the_known_ones(name, classes, macs, params):
    arch = registry.get(name)
    cost = count(trace(arch.build(classes), arch.input_size).map)
    assert (cost.macs, cost.params) == (macs, params)


def test_a_network_in_an_older_form_is_not_converted_on_the_way():
    """MNASNet takes a state dict without version for one of its first form, and changes itself to fit it."""
    assert halved(randomised("small_networks:mnasnet", 64), "internal").difference < 1e-6


@pytest.mark.soak
@pytest.mark.parametrize("residual", ["internal", "coupled"])
@pytest.mark.parametrize("name", HARDER)
def test_harder_networks_are_proven(name, residual):
    pruned = halved(randomised(name, HARDER[name]), residual)
    assert pruned.difference < 1e-6
    assert 0.45 < pruned.after.macs / pruned.before.macs <= 0.5
