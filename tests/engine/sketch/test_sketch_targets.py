"""Which convolutions are sketched, how wide they become, and the refusals, each with its reason."""

import importlib
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from prune.engine.errors import AllocationError
from prune.engine.graph.channels import ChannelMap
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.modules.blank import without_initialisation
from prune.engine.narrowing.pruning import prunable
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.sketching.rates import SketchRates
from prune.engine.sketching.targets import targets, widths
from prune.engine.transfers.sketch import Sketch

sys.path.insert(0, str(Path(__file__).parents[1]))
mini_networks = importlib.import_module("mini_networks")

DENSENET = "small_networks:densenet10"


@cache
def traced(name: str) -> tuple[Network, ChannelMap]:
    """A network whose weights nobody looks at."""
    with without_initialisation():
        ours = ":" not in name  # which say their classes and images by themselves
        network = new_network(name) if ours else new_network(name, num_classes=10, input_size=32)
    return network, trace(network.model, network.input_size).map


@cache
def found_in(name: str):
    network, channel_map = traced(name)
    return targets(network.model, channel_map, network.block_of)


@pytest.fixture(scope="module")
def published(published_rows: dict[str, dict]) -> dict[str, dict]:
    return {name: row for name, row in published_rows.items() if row["method"] == "FilterSketch"}


@pytest.mark.parametrize(
    "arch",
    [
        *("resnet56", "googlenet", "resnet50"),
        pytest.param("resnet110", marks=pytest.mark.soak),  # as ResNet-56, with more blocks
    ],
)
def test_published_rates_give_the_published_networks(published: dict[str, dict], arch: str):
    """True MACs and parameters, of one list per row; which convolutions, by their widths in forward order."""
    rows = [row for row in published.values() if row["arch"] == arch]
    assert rows
    network, channel_map = traced(arch)
    for row in rows:
        expected = row["narrow"]["exact"]
        selection = SketchRates(keep_rate=row["rates_spec"]).select(prunable(network, channel_map), {})
        cost = count(channel_map, selection.removed)
        assert (cost.macs, cost.params) == (expected["macs"], expected["params"]), row["id"]
        flat = [
            name for block in row["rate_targets"] for name in ([block] if isinstance(block, str) else block)
        ]
        found = [width for width, _ in selection.counts.values()]
        assert found == [expected["layers"][name][1] for name in flat]


@pytest.mark.soak  # GoogLeNet takes seconds; the next test is its twin of a small network
def test_a_sketched_googlenet_is_really_that_narrow(published: dict[str, dict], sketch):
    expected = published["fs-googlenet"]["narrow"]["exact"]
    network = new_network("googlenet")
    _, pruned = sketch(network, "[0.25]*9")
    assert sum(p.numel() for p in pruned.network.model.parameters()) == expected["params"]
    assert pruned.after.macs == expected["macs"]
    trained = count(trace(pruned.network.model, network.input_size).map)
    assert (trained.macs, trained.params) == (expected["macs"], expected["params"])


def test_a_sketched_network_is_really_that_narrow(sketch):
    network = new_network("small_networks:resnet8", num_classes=10, input_size=32)
    full = count(trace(network.model, network.input_size).map)
    _, pruned = sketch(network, "[0.25]*3")
    # Filters of a stage, the channels on both sides of them, pixels.
    gone = ((12, 16 + 16, 1024), (24, 16 + 32, 256), (48, 32 + 64, 64))
    macs = full.macs - sum(filters * 9 * beside * pixels for filters, beside, pixels in gone)
    params = full.params - sum(filters * (9 * beside + 2) for filters, beside, _ in gone)
    assert sum(p.numel() for p in pruned.network.model.parameters()) == params
    assert pruned.after.macs == macs
    trained = count(trace(pruned.network.model, network.input_size).map)
    assert (trained.macs, trained.params) == (macs, params)


@pytest.mark.parametrize(
    ("arch", "places"),
    [
        ("resnet56", range(1, 28)),
        ("resnet50", [place for place in range(1, 17) for _ in range(2)]),
        ("googlenet", [place for place in range(1, 10) for _ in range(3)]),
        ("vgg16_bn", range(13)),
        ("lenet5", range(2)),
        (DENSENET, []),
    ],
)
def test_places(arch: str, places):
    """The stem is 0, blocks count from 1; where there are no blocks, convolutions count."""
    found, _ = found_in(arch)
    assert [target.place for target in found] == list(places)


def test_what_leaves_its_block_is_no_target():
    """GoogLeNet's branch outputs and a block's last convolution go to other blocks."""
    found, refused = found_in("googlenet")
    assert [target.name for target in found[:3]] == [
        "inception_a3.branch3x3.conv1.conv",
        "inception_a3.branch5x5.conv1.conv",
        "inception_a3.branch5x5.conv2.conv",
    ]
    assert refused["inception_a3.branch1x1.conv1.conv"] == "4 layers read its channels, not one"
    network, channel_map = traced("vgg16_bn")
    halves = {f"stem.conv{number}.conv": number > 6 for number in range(1, 14)}
    found, refused = targets(network.model, channel_map, lambda name: halves.get(name))
    assert "stem.conv6.conv" not in [target.name for target in found]
    assert refused["stem.conv6.conv"] == "its channels leave their block for stem.conv7.conv"


@pytest.mark.parametrize(
    ("arch", "group", "reason"),
    [
        ("resnet56", "stage1.conv1.conv", "added into a residual stream"),
        ("mobilenet_v1", "conv1.conv", "2 layers read its channels"),
    ],
)
def test_refusals_of_our_networks(arch: str, group: str, reason: str):
    _, refused = found_in(arch)
    assert reason in refused[group]


@pytest.mark.parametrize(
    ("name", "group", "reason"),
    [
        ("Grouped", "stem.0", "body.0, which reads its channels, is a depthwise, transposed or grouped"),
        ("Grouped", "body.0", "it is a transposed or grouped convolution"),
        ("Transposed", "up", "it is a transposed or grouped convolution"),
        ("SqueezeExcite", "stem.0", "up makes the same channels"),
        ("PReLUPerChannel", "body", "act.weight, which is no batch norm's, goes by its channels too"),
        ("ChannelShuffle", "stem.0", "some of its channels are tied to each other"),
        ("DenseConcat", "again.0", "fc reads other channels too, or these in another order"),
        ("SharedWeights", "stem.0", "one makes the same channels"),
        ("ConvAndItsTranspose", "encode", "0 layers read its channels, not one"),
        ("MixedChannels", "mid.0", "channels are mixed at softmax"),
    ],
)
def test_refusals(name: str, group: str, reason: str):
    model = mini_networks.build(name)
    _, refused = targets(model, trace(model, mini_networks.SIZE).map)
    assert reason in refused[group]


def test_channels_tied_to_each_other_are_no_target():
    """One filter more or less would be two channels."""

    class Doubled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)

        def forward(self, x):
            left, right = self.first(x).chunk(2, dim=1)
            return self.second(torch.cat([left * right, right * left], 1)).mean((2, 3))

    model = Doubled()
    found, refused = targets(model, trace(model, (3, 8, 8)).map)
    assert found == ()
    assert refused["first"] == "some of its channels are tied to each other"


@pytest.mark.parametrize(
    ("rates", "start", "expected"),
    [
        ("[0.5]*2+[0.25]*7", "1", [8, 8, 4, 8, 8, 8, 16, 16, 16]),
        ("[0.5]*2", "8", [32, 32]),
        ("[0.5]*2", "stage3.block1.conv1.conv", [32, 32]),
        ("[0.5]*9", "0", [8, 8, 8, 16, 16, 16, 32, 32, 32]),
        ("[0.01]*9", "1", [1] * 9),
        ("[1.0]*9", "1", [16, 16, 16, 32, 32, 32, 64, 64, 64]),
    ],
)
def test_a_list_begins_at_its_start(rates: str, start: str, expected: list[int]):
    found, _ = found_in("resnet20")
    assert list(widths(found, rates, start=start).values()) == expected


def test_a_list_by_block_or_by_convolution():
    found, _ = found_in("googlenet")
    by_block = widths(found, "[0.5]+[0.25]*8")
    by_convolution = widths(found, "[0.5]*3+[0.25]*24")
    assert by_block == by_convolution
    assert list(by_block.values())[:4] == [48, 8, 16, 32]


def test_skipped_targets_keep_their_rates_in_a_list_by_block():
    found, _ = found_in("googlenet")
    by_block = widths(found, "[0.25]*9", skip=["*.branch5x5.*"])
    assert [target.name.split(".")[1] for target in by_block] == ["branch3x3"] * 9


def test_what_is_no_target_may_be_skipped_too():
    found, refused = found_in("googlenet")
    assert widths(found, "[0.25]*9", skip=["stem.*"], others=refused) == widths(found, "[0.25]*9")


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        (
            "googlenet",
            {"keep_rate": "[0.5]*8"},
            "8 rates given; with `start_conv` 1 this network takes 9, one per block, or 27, one per "
            "convolution that is sketched",
        ),
        (
            "vgg16_bn",
            {"keep_rate": "[0.5]*13"},
            "13 rates given; with `start_conv` 1 this network takes 12, one per convolution that is sketched",
        ),
        ("vgg16_bn", {"keep_rate": "[0.5]"}, "the same for all is '[0.5]*12'"),
        ("resnet20", {"keep_rate": "[0.5]*9", "start": "10"}, "the last place with something to sketch is 9"),
        ("resnet20", {"keep_rate": "[0.5]*9", "start": "stage1"}, "`start_conv` 'stage1' matches no layer"),
        ("resnet20", {"keep_rate": "[0.5]*9", "skip": ["nothing"]}, "`skip` 'nothing' matches no layer"),
    ],
)
def test_lists_that_do_not_fit(arch: str, arguments: dict, message: str):
    found, _ = found_in(arch)
    with pytest.raises(AllocationError) as error:
        widths(found, **arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_rate": "[0.0]*27"}, "a share that is kept lies above 0 and goes up to 1"),
        ({"keep_rate": "27*[0.6]"}, "write '[0.6]*27'"),
        (
            {"procedure": "published"},
            "no procedure 'published'; choose one of paper, released",
        ),
        ({"weight_norm": "l1"}, "no weight norm 'l1'; choose one of none, l2"),
    ],
)
def test_settings_of_no_network(settings: dict, message: str):
    with pytest.raises(AllocationError) as error:
        SketchRates(**settings) if "keep_rate" in settings else Sketch(**settings)
    assert message in str(error.value)


def test_nothing_to_sketch():
    network, channel_map = traced(DENSENET)
    with pytest.raises(
        AllocationError, match="nothing in this network can be sketched: conv1: 3 layers read"
    ):
        SketchRates(keep_rate="[0.5]").select(prunable(network, channel_map), {})
