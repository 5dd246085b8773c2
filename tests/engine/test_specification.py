"""One way of saying what leaves, and only one."""

from pathlib import Path

import numpy as np
import pytest
from prune.archs import registry
from prune.engine.allocations.specification import Specification, equal_scores
from prune.engine.errors import AllocationError
from prune.engine.graph.trace import trace
from prune.engine.selection.plan import plan_of, write


@pytest.fixture(scope="module")
def resnet20():
    model = registry.get("resnet20").build(10)
    return trace(model, (3, 32, 32)).map, dict(model.state_dict())


WAYS = {
    "--compress-rate": {"compress_rate": "[0.1]*19"},
    "--keep-rate": {"keep_rate": "[0.5]*19"},
    "--rate": {"rate": 0.5},
    "--layer-rate": {"layer_rates": ("*=0.5",)},
    "--rate-norm/--rate-dist": {"rate_dist": 0.3},
    "--flops/--params": {"flops": 0.5, "params": 0.6},
    "--plan": {"plan": Path("plan.json")},
}


def test_nothing_said_is_refused():
    with pytest.raises(AllocationError, match="nothing says how much is to leave"):
        Specification()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_known_by_its_option(way):
    assert Specification(**WAYS[way]).ways == [way]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "--rate"])
def test_two_ways_exclude_each_other(way):
    with pytest.raises(AllocationError, match="exclude each other") as refused:
        Specification(**WAYS[way], rate=0.1)
    assert way in str(refused.value)
    assert "--rate " in str(refused.value)


def test_an_unknown_residual_mode_is_refused():
    with pytest.raises(
        AllocationError, match="no residual mode 'all'; choose one of internal, coupled, scatter"
    ):
        Specification(rate=0.5, residual="all")


def test_given_lists_what_differs_from_the_defaults():
    assert Specification(flops=0.5, skip=("a*",)).given() == {"flops": 0.5, "skip": ("a*",)}
    assert Specification(plan=Path("p.json")).given() == {"plan": "p.json"}


def test_internal_leaves_streams_alone_and_coupled_does_not(resnet20):
    channel_map, state = resnet20
    scores = equal_scores(channel_map)
    streams = {int(i) for group in channel_map.groups if group.stream for i in group.channels}
    internal = Specification(rate=0.5).select(channel_map, scores, state).removed
    coupled = Specification(rate=0.5, residual="coupled").select(channel_map, scores, state).removed
    assert internal
    assert not internal & streams
    assert len(coupled & streams) == (16 + 32 + 64) // 2
    assert coupled - streams == internal


def test_a_plan_selects_what_it_says(resnet20, tmp_path):
    channel_map, state = resnet20
    removed = Specification(rate=0.25).select(channel_map, equal_scores(channel_map), state).removed
    write(tmp_path / "plan.json", plan_of(channel_map, removed, arch="resnet20", residual="internal"))
    assert Specification(plan=tmp_path / "plan.json").select(channel_map, {}, state).removed == removed


def test_nothing_left_to_prune_is_said(resnet20):
    channel_map, state = resnet20
    with pytest.raises(AllocationError, match="nothing may leave"):
        Specification(rate=0.5, skip=("*",)).select(channel_map, {}, state)


def test_partly_pinned_streams_lose_only_free_channels(resnet20):
    channel_map, state = resnet20
    stream = next(group for group in channel_map.groups if group.stream)
    pinned = channel_map.pin(stream.channels[:6], "for a test")
    scores = {name: np.arange(len(s), dtype=float) for name, s in equal_scores(channel_map).items()}
    removed = Specification(rate=0.5, residual="coupled").select(pinned, scores, state).removed
    assert sorted(removed & set(stream.channels.tolist())) == sorted(stream.channels[6:14].tolist())
