"""Head dimensions leave instead of whole heads where that is asked for: of all heads the same, exactly."""

import numpy as np
import prune
import pytest
import token_networks
import torch
from prune.engine.errors import AllocationError, FitError
from soaked import often
from token_outcomes import IMAGES, SIZE, check_against_zeros, check_files, loaded, pruned, wrapped
from torch import nn

DIMS = {  # network -> its first group of head dimensions, how wide heads are, and filters per dimension
    "by_flag": ("attention.qkv", 6, 12),
    "by_number": ("attention.query", 6, 4),
    "as_wide": ("attention.1.query", 4, 4),
    "separate": ("attention.value", 6, 4),
    "encoder": ("body.layers.0.self_attn.in_proj_weight", 6, 12),
    "vit": ("encoder.layers.encoder_layer_0.self_attention.in_proj_weight", 6, 12),
    "swin": ("features.1.0.attn.qkv", 4, 9),
    "maxvit": ("blocks.0.layers.0.layers.window_attention.attn_layer.1.to_qkv", 4, 6),
}


@pytest.fixture(scope="module")
def outcomes():
    return pruned(DIMS, head_dims=True)


@pytest.mark.parametrize("name", DIMS)
def test_a_dimension_leaves_all_heads_and_all_that_makes_it(name, outcomes):
    _, outcome = outcomes[name]
    group_name, wide, filters = DIMS[name]
    group = next(group for group in outcome.map.groups if group.name == group_name)
    assert group.unit == "head dimensions"
    assert len(group.channels) == wide
    assert group.free.all()
    layer = outcome.map.layer(group_name)
    assert np.unique(layer.out_ids, return_counts=True)[1].tolist() == [filters] * wide
    assert outcome.counts[group_name] == (wide // 2, wide)


@pytest.mark.parametrize("name", DIMS)
def test_the_narrow_network_is_the_one_whose_dimensions_are_zero(name, outcomes):
    """What the fresh network computes with zeros in their places: its scale is that of all dimensions."""
    check_against_zeros(name, *outcomes[name])


def test_files_load_by_themselves_in_a_new_process(outcomes, tmp_path):
    for again in check_files(outcomes, tmp_path).values():
        assert again.history[-1]["options"]["head_dims"] is True


# In `make soak` alone: networks whose attention is written like that of one of the others.
LIKE_OTHERS = ("as_wide", "separate", "vit", "maxvit")


@pytest.mark.parametrize("name", often(DIMS, but=LIKE_OTHERS))
def test_it_trains_on_and_loses_more(name, outcomes, tmp_path):
    model = loaded(name, outcomes[name][1], tmp_path).model.train()
    model(IMAGES.float()).square().mean().backward()
    torch.optim.SGD(model.parameters(), 0.01).step()
    net = prune.wrap(model.eval(), SIZE, head_dims=True)
    group, wide, _ = DIMS[name]
    again = prune.prune(net, prune.plan(net, layers={group: 0.5}))
    assert again.counts[group] == (wide // 2 - wide // 4, wide // 2)
    assert again.difference < 1e-12


def test_heads_that_have_lost_dimensions_leave_as_wholes_after_that(outcomes, tmp_path):
    net = prune.wrap(loaded("encoder", outcomes["encoder"][1], tmp_path).model, SIZE)
    again = prune.prune(net, prune.plan(net, rate=0.5))
    assert again.counts["body.layers.0.self_attn.in_proj_weight"] == (2, 4)
    assert again.difference < 1e-12


def test_in_place_too():
    net = wrapped("by_flag", head_dims=True)
    outcome = prune.prune(net, prune.plan(net, rate=0.5), in_place=True)
    attention = net.model.attention
    assert outcome.model is net.model
    assert (attention.num_heads, attention.head_dim, attention.attn_dim) == (4, 3, 12)
    assert not attention.fused_attn
    assert attention.scale == 6**-0.5


def test_a_scale_that_is_computed_from_the_width_holds_queries_and_keys_and_says_so(outcomes):
    _, outcome = outcomes["separate"]
    assert "a scale by the number of channels" in outcome.pinned["attention.query"]
    assert outcome.counts["attention.value"] == (3, 6)
    net = wrapped("fused", head_dims=True)
    fused = prune.prune(net, prune.plan(net, rate=0.5))
    assert "mul in attention computes with the number of channels" in fused.pinned["attention.qkv"]
    assert fused.model.attention.head_dim == 6


def test_a_plan_says_of_what_it_is(tmp_path):
    dims, heads = wrapped("by_number", head_dims=True), prune.wrap(token_networks.make_by_number(), SIZE)
    plan, other = prune.plan(dims, rate=0.5), prune.plan(heads, rate=0.5)
    prune.save(tmp_path / "plan.json", plan)
    assert prune.prune(dims, tmp_path / "plan.json").counts["attention.query"] == (3, 6)
    with pytest.raises(AllocationError, match="the plan is of head dimensions"):
        prune.prune(heads, plan)
    with pytest.raises(AllocationError, match="the plan is of whole heads"):
        prune.prune(dims, other)


def test_networks_without_heads_are_refused():
    with pytest.raises(FitError, match="`head_dims` is for networks with attention of several heads"):
        prune.wrap(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3)), SIZE, head_dims=True)


def test_reach_says_what_leaves():
    units = {group.name: group.unit for group in prune.reach(wrapped("by_number", head_dims=True)).groups}
    assert units["attention.query"] == "head dimensions"
    assert units["mlp.fc1"] == "channels"
    whole = prune.reach(prune.wrap(token_networks.make_by_number(), SIZE)).groups
    assert {group.name: group.unit for group in whole}["attention.query"] == "heads"
