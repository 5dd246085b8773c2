"""What every allocation must do, whatever its name: a new one is tested the moment its file is there."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.engine import allocations
from prune.engine.allocations import required, stored
from prune.engine.allocations.budget import Budget
from prune.engine.allocations.plan import Planned
from prune.engine.allocations.rate import Rate
from prune.engine.errors import AllocationError
from prune.engine.graph.residual import view
from prune.engine.graph.trace import trace
from prune.engine.selection.allocation import GroupAllocation, Prunable
from prune.engine.selection.plan import plan_of
from prune.engine.selection.selection import equal_scores, prunable_groups

NETWORKS = ("src20", "mobilenet_v1")  # a stream with projections, and depthwise convolutions; both have deps


@cache
def prunable(arch, residual="internal"):
    known = registry.get(arch)
    torch.manual_seed(0)
    model = known.build(10)
    size = (3, 32, 32)
    seen = view(model, trace(model, size), size, residual)
    return Prunable(
        map=seen.traced.map,
        weights=seen.model.state_dict(),
        conv_order=known.conv_order,
        block_of=known.block_of,
    )


def random_scores(network):
    draw = np.random.default_rng(0)
    return {name: draw.random(len(ones)) for name, ones in equal_scores(network.map).items()}


@pytest.fixture(params=allocations.names())
def kind(request):
    return allocations.get(request.param)


@pytest.fixture(params=NETWORKS)
def network(request):
    return prunable(request.param)


@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
@pytest.mark.parametrize("arch", NETWORKS)
def test_some_channels_leave_none_of_them_pinned_and_the_same_each_time(kind, arch, residual):
    network = prunable(arch, residual)
    allocation = replace(kind.example(network), residual=residual)
    scores = random_scores(network)
    selection = allocation.select(network, scores)
    assert 0 < len(selection.removed) <= sum(len(g.channels) for g in network.map.groups) / 2
    assert not selection.removed & network.map.pinned.keys()
    assert allocation.select(network, scores) == selection
    for group in network.map.groups:
        left = len(group.channels) - len(selection.removed & set(group.channels.tolist()))
        assert left >= 1
        assert selection.counts.get(group.name, (left, len(group.channels)))[0] == left


def test_pinned_channels_stay(kind, network):
    allocation = kind.example(network)
    if not issubclass(kind, GroupAllocation):
        return
    group = prunable_groups(network.map)[0]
    pinned = replace(network, map=network.map.pin(group.channels, "for a test"))
    removed = allocation.select(pinned, random_scores(pinned)).removed
    assert removed
    assert not removed & pinned.map.pinned.keys()


def test_what_can_be_selected_passes_the_check(kind, network):
    kind.example(network).check(network)


def test_how_many_leave_does_not_depend_on_the_scores(kind, network):
    if kind.widths_depend_on_scores:
        return
    allocation = kind.example(network)
    counts = allocation.select(network, equal_scores(network.map)).counts
    assert allocation.select(network, random_scores(network)).counts == counts


def test_scores_matter_where_they_are_needed(kind, network):
    allocation = kind.example(network)
    chosen = allocation.select(network, random_scores(network)).removed
    turned = {name: -scores_F for name, scores_F in random_scores(network).items()}
    assert (allocation.select(network, turned).removed != chosen) == kind.needs_scores
    if not kind.needs_scores:
        assert allocation.select(network, {}).removed == chosen


def test_permuting_filters_permutes_what_leaves(kind, network):
    """But for a plan, which names positions."""
    if kind is Planned:
        return
    allocation, scores = kind.example(network), random_scores(network)
    draw = np.random.default_rng(1)
    group = next(g for g in prunable_groups(network.map) if g.free.all())
    order = draw.permutation(len(group.channels))
    renamed = dict(zip(group.channels.tolist(), group.channels[order].tolist(), strict=True))
    weights, turned = dict(network.weights), dict(scores)
    for name in group.producers:
        layer = network.map.layer(name)
        place = {int(channel): position for position, channel in enumerate(layer.out_ids)}
        mine = [place[renamed.get(int(channel), int(channel))] for channel in layer.out_ids]
        weights[layer.weight] = weights[layer.weight][mine]
        turned[name] = scores[name][mine]
    before = allocation.select(network, scores).removed
    after = allocation.select(replace(network, weights=weights), turned).removed
    assert {renamed.get(channel, channel) for channel in after} == before


def test_all_kept_changes_nothing(network):
    whole = [
        Rate(rate=0.0),
        required({"layer_rates": "*=0"}),
        required({"rate_norm": 1.0}),
        required({"rate_dist": 0.0}),
        Budget(flops=1.0, params=1.0),
        required({"compress_rate": f"[0.0]*{len(network.map.layers) - 1}"}),
        required({"keep_rate": f"[1.0]*{len(network.map.layers) - 1}"}),
        required({"deps": [len(network.map.layer(name).out_ids) for name in network.conv_order]}),
        Planned(plan=plan_of(network.map, (), arch="", residual="internal")),
    ]
    assert {type(allocation) for allocation in whole} == set(map(allocations.get, allocations.names()))
    for allocation in whole:
        assert allocation.select(network, random_scores(network)).removed == frozenset()


@pytest.mark.parametrize("residual", ["internal", "coupled"])
def test_what_is_stored_is_read_again(kind, network, residual):
    allocation = replace(kind.example(network), residual=residual)
    if isinstance(allocation, GroupAllocation):
        allocation = replace(allocation, skip=("a*", "b"), min_channels=3)
    kept = json.loads(json.dumps(stored(allocation)))
    assert kept == stored(allocation)
    assert kept.keys() == allocations.settings().keys()
    assert required(kept) == allocation


def test_what_was_given_makes_it_again(kind, network):
    allocation = kind.example(network)
    if kind is not Planned:  # a plan in memory has no name
        assert required(allocation.given()) == allocation
    assert set(sum(kind.ways, ())) & allocation.given().keys()


def test_nothing_left_to_prune_is_said(kind, network):
    if not issubclass(kind, GroupAllocation):
        return
    everything = replace(kind.example(network), skip=("*",))
    for refuse in (everything.check, lambda network: everything.select(network, {})):
        with pytest.raises(AllocationError, match="nothing may leave"):
            refuse(network)
