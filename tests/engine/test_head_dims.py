"""Head dimensions leave instead of whole heads where that is asked for: of all heads the same, exactly."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import prune
import pytest
import torch
from prune.engine.errors import AllocationError, FitError
from prune.engine.modules.numbers import numbers_of
from prune.engine.network.network import load_network, save_network
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
token_networks = importlib.import_module("token_networks")
SIZE = (3, 16, 16)
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
IMAGES = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def wrapped(name):
    return prune.wrap(getattr(token_networks, f"make_{name}")(), SIZE, head_dims=True)


@pytest.fixture(scope="module")
def outcomes():
    made = {}
    for name in DIMS:
        net = wrapped(name)
        skip = ("stem*", "*MBconv*") if name == "maxvit" else ()
        made[name] = net, prune.prune(net, prune.plan(net, rate=0.5, skip=skip))
    return made


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
    net, outcome = outcomes[name]
    assert outcome.difference < 1e-12
    masked = {key: tensor.clone().double() for key, tensor in net.model.state_dict().items()}
    for layer in outcome.map.layers:
        if layer.name in outcome.kept and layer.kind != "depthwise":
            gone = np.setdiff1d(np.arange(layer.shape[0]), outcome.kept[layer.name])
            masked[layer.weight][gone] = 0
            if layer.bias:
                masked[layer.bias][gone] = 0
    full = getattr(token_networks, f"make_{name}")().double()
    full.load_state_dict(masked)
    with torch.no_grad():
        wide, thin = full(IMAGES), outcome.model.double()(IMAGES)
    outcome.model.float()
    assert wide.std() > 1e-3
    assert (wide - thin).abs().max() < 1e-10 * wide.abs().max()


def loaded(name, outcome, folder):
    path = folder / f"{name}.hdf5"
    save_network(path, replace(outcome.network, arch=f"token_networks:make_{name}"))
    return load_network(path, f"token_networks:make_{name}", input_size=SIZE)


def test_files_load_by_themselves_in_a_new_process(outcomes, tmp_path):
    for name, (_, outcome) in outcomes.items():
        again = loaded(name, outcome, tmp_path)
        assert torch.equal(again.model(IMAGES.float()), outcome.model(IMAGES.float()))
        assert numbers_of(again.model) == numbers_of(outcome.model)
        assert again.history[-1]["options"]["head_dims"] is True
    script = (
        "import json, sys, torch\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from prune.engine.network.network import load_network\n"
        "torch.set_num_threads(1)\n"
        "x = torch.linspace(-2, 2, 768).sin().reshape(1, 3, 16, 16)\n"
        "nets = {p.stem: load_network(p, f'token_networks:make_{p.stem}', input_size=(3, 16, 16))\n"
        "        for p in Path(sys.argv[1]).glob('*.hdf5')}\n"
        "print(json.dumps({name: net.model(x).tolist() for name, net in nets.items()}))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(HERE)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    x = torch.linspace(-2, 2, 768).sin().reshape(1, 3, 16, 16)
    for name, (_, outcome) in outcomes.items():
        assert torch.allclose(torch.tensor(found[name]), outcome.model(x), rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("name", DIMS)
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
    net = wrapped("by_flag")
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
    net = wrapped("fused")
    fused = prune.prune(net, prune.plan(net, rate=0.5))
    assert "mul in attention computes with the number of channels" in fused.pinned["attention.qkv"]
    assert fused.model.attention.head_dim == 6


def test_a_plan_says_of_what_it_is(tmp_path):
    dims, heads = wrapped("by_number"), prune.wrap(token_networks.make_by_number(), SIZE)
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
    units = {group.name: group.unit for group in prune.reach(wrapped("by_number")).groups}
    assert units["attention.query"] == "head dimensions"
    assert units["mlp.fc1"] == "channels"
    whole = prune.reach(prune.wrap(token_networks.make_by_number(), SIZE)).groups
    assert {group.name: group.unit for group in whole}["attention.query"] == "heads"
