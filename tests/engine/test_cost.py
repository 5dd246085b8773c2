import time
from functools import cache

import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.engine.allocations import required
from prune.engine.graph.cost import Counter, count
from prune.engine.graph.trace import trace
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.selection import prunable_groups
from torch import nn

torch.set_num_threads(1)


class Mixed(nn.Module):
    """A depthwise, a grouped and a transposed conv, a fixed blur, and a linear layer behind a flatten."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.grouped = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.register_buffer("blur", torch.full((6, 1, 2, 2), 0.25))
        self.linear = nn.Linear(6 * 4 * 4, 10)

    def forward(self, x):
        x = self.depthwise(self.bn1(self.conv1(x)).relu())
        x = self.up(self.grouped(x).relu()).relu()
        x = nn.functional.conv2d(x, self.blur, stride=2, groups=6)
        return self.linear(x.flatten(1))


@pytest.fixture(scope="module")
def mixed():
    return trace(Mixed().eval(), (3, 8, 8)).map


def test_counts_by_hand(mixed):
    cost = count(mixed)
    macs = {
        "conv1": 8 * 3 * 9 * 64,
        "depthwise": 8 * 9 * 64,
        "grouped": 12 * 4 * 9 * 16,
        "up": 12 * 6 * 4 * 16,
        "blur": 6 * 4 * 16,
        "linear": 96 * 10,
    }
    assert {layer.name: layer.macs for layer in cost.layers} == macs
    assert cost.macs == sum(macs.values())
    params = {"conv1": 216, "depthwise": 72, "grouped": 444, "up": 294, "blur": 24, "linear": 970}
    assert {layer.name: layer.params for layer in cost.layers} == params
    assert cost.params == sum(p.numel() for p in Mixed().parameters())
    up = cost.layers[3]
    assert (up.in_, up.out, up.kernel, up.stride, up.out_hw) == (12, 6, (2, 2), (2, 2), (8, 8))


def test_a_removed_channel_narrows_both_sides(mixed):
    group = next(group for group in mixed.groups if group.name == "up")
    cost = count(mixed, group.channels[:2].tolist())
    layers = {layer.name: layer for layer in cost.layers}
    assert layers["up"].out == 4
    assert layers["up"].macs == 12 * 4 * 4 * 16
    assert (layers["linear"].in_, layers["linear"].macs) == (64, 640)
    assert cost.params == count(mixed).params - 2 * (12 * 4 + 1) - 2 * 16 * 10


def test_a_counter_gives_the_same_totals_as_count(mixed):
    counter = Counter(mixed)
    for group in mixed.groups:
        removed = group.channels[group.free][:1]
        cost = count(mixed, removed.tolist())
        assert counter.totals(removed) == (cost.macs, cost.params)
        assert counter.totals(removed.tolist()) == (cost.macs, cost.params)


def test_totals_of_a_large_network_take_no_time():
    network = traced("resnet50")
    counter = Counter(network)
    assert counter.totals(()) == (4089184256, 25557032)
    removed = np.concatenate([group.channels[::2] for group in prunable_groups(network)])
    fastest = min(_seconds(counter, removed) for _ in range(10))
    assert fastest < 2e-3


def _seconds(counter, removed):
    start = time.perf_counter()
    counter.totals(removed)
    return time.perf_counter() - start


@cache
def traced(arch_name):
    arch = registry.get(arch_name)
    return trace(arch.build(arch.num_classes).eval(), arch.input_size).map


PUBLISHED = [
    ("hrank-r56", "resnet56", "internal_only", False),
    ("hrank-r110", "resnet110", "internal_only", False),
    ("hrank-r50", "resnet50", "internal_only", False),
    ("hrank-vgg16", "vgg16_bn", "all13", False),
    ("fs-r110", "resnet110", "exact", True),
    *((f"fs-r56-0.{tenth}", "resnet56", "exact", True) for tenth in range(1, 10)),
]


@pytest.mark.parametrize(("row_id", "arch_name", "variant", "keep"), PUBLISHED)
def test_published_specifications_cost_what_the_golden_tables_say(
    published_rows, row_id, arch_name, variant, keep
):
    row = published_rows[row_id]
    network = traced(arch_name)
    # Any scores do: the count does not depend on which channels leave.
    scores = {layer.name: np.arange(len(layer.out_ids)) for layer in network.layers}
    # The table's reading of ResNet-50 leaves the stem whole, although no stream contains it.
    skip = ["conv1.conv"] if row_id == "hrank-r50" else []
    way = "keep_rate" if keep else "compress_rate"
    allocation = required({way: row["rates_spec"], "skip": skip})
    selection = allocation.select(Prunable(map=network), scores)
    whole, narrow = count(network), count(network, selection.removed)
    assert (whole.macs, whole.params) == (row["baseline"]["macs"], row["baseline"]["params"])
    assert (narrow.macs, narrow.params) == (row["narrow"][variant]["macs"], row["narrow"][variant]["params"])
