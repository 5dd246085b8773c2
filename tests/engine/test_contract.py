"""The contract: every network is pruned exactly, or pinned with a reason; none crashes, none is corrupted."""

import importlib
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from prune.engine.graph.trace import trace
from prune.engine.modules.plain import plain
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.narrowing.surgery import mask, narrow
from prune.engine.network.files import save_network
from prune.engine.network.network import Network

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
mini_networks = importlib.import_module("mini_networks")
NAMES = list(mini_networks.NAMED)


def every_other(channel_map, coupled=True):
    """Half of the free channels of every group, picked unevenly."""
    rng = np.random.default_rng(7)
    removed = []
    for group in channel_map.groups:
        free = group.channels[group.free]
        if group.producers and (coupled or not group.stream):
            removed += rng.choice(
                free,
                min(max(1, len(group.channels) // 2 - 1), len(free), len(group.channels) - 1),
                replace=False,
            ).tolist()
    return removed


@cache
def traced(name):
    """A network, which nobody here changes, and its trace."""
    model = mini_networks.build(name)
    return model, trace(model, mini_networks.SIZE)


@pytest.fixture(scope="module")
def pruned():
    made = {}
    for name in NAMES:
        model, known = traced(name)
        made[name] = model, narrow_proven(model, known, mini_networks.SIZE, every_other)
    return made


@pytest.fixture(scope="module")
def reloaded(pruned, tmp_path_factory):
    """Logits of every narrow network, computed in a new process from its file alone."""
    folder = tmp_path_factory.mktemp("narrow")
    for name, (_, result) in pruned.items():
        network = Network(result.model, f"mini_networks:make_{name}", 5, mini_networks.SIZE)
        save_network(folder / f"{name}.hdf5", network)
    script = (
        "import json, sys, torch\n"
        "from pathlib import Path\n"
        "from prune.engine.network.files import load_network\n"
        "torch.set_num_threads(1)\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "x = torch.linspace(-2, 2, 2 * 3 * 16 * 16, dtype=torch.float64).sin().reshape(2, 3, 16, 16)\n"
        "out = {}\n"
        "for path in Path(sys.argv[1]).glob('*.hdf5'):\n"
        "    net = load_network(path, f'mini_networks:make_{path.stem}', input_size=(3, 16, 16))\n"
        "    out[path.stem] = net.model.double()(x).tolist()\n"
        "print(json.dumps(out))\n"
    )
    return json.loads(warm.run(["-c", script, folder, HERE], check=True).stdout)


@pytest.mark.parametrize("name", NAMES)
def test_narrow_file_equals_masked_network_in_a_new_process(name, pruned, reloaded):
    model, result = pruned[name]
    full = mini_networks.build(name)
    masked = mini_networks.build(name)
    masked.load_state_dict(mask(full.state_dict(), result.map, result.removed))
    x = torch.linspace(-2, 2, 2 * 3 * 16 * 16, dtype=torch.float64).sin().reshape(2, 3, 16, 16)
    with torch.no_grad():
        expected = plain(masked)[0].double()(x)  # weights that are computed are so in their own type
    found = torch.tensor(reloaded[name], dtype=torch.float64)
    near = 1e-6 if name == "WeightNorm" else 1e-9  # computed weights are folded as a file is read, in float32
    assert torch.allclose(found, expected, rtol=near, atol=near * float(expected.abs().max()))
    assert model is not result.model
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), full.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_can_shrink_shrinks_and_what_cannot_says_why(name, pruned):
    model, result = pruned[name]
    network = type(model)
    shapes = {key: tuple(value.shape) for key, value in result.model.state_dict().items()}
    for layer in network.PRUNES:
        key = layer if layer in result.map.shapes else f"{layer}.weight"
        producer = result.map.layer(layer)
        dim = 1 if producer.kind == "transposed" else 0
        assert shapes[key][dim] < result.map.shapes[key][dim], f"{layer} did not get narrower"
    for layer in network.PINNED:
        assert shapes[f"{layer}.weight"][0] == result.map.shapes[f"{layer}.weight"][0]
        reasons = {result.map.pinned[i] for i in result.map.layer(layer).out_ids.tolist()}
        assert all(reasons)


@pytest.mark.parametrize("name", ["Plain", "DenseConcat", "Grouped", "ReusedModule", "LiteralPad"])
def test_a_shifted_index_is_found_out(name, monkeypatch):
    """The proofs must be able to fail: consumers cut one off are caught by the values, not by a crash."""
    from prune.engine.errors import ProofError
    from prune.engine.narrowing import crashes

    def shifted(state, channel_map, removed):
        cut = narrow(state, channel_map, removed)
        fc = cut["fc.weight"]
        cut["fc.weight"] = fc.roll(1, dims=1)
        return cut

    monkeypatch.setattr(crashes, "narrow", shifted)
    model, known = traced(name)
    with pytest.raises(ProofError, match="differs from the masked one"):
        narrow_proven(model, known, mini_networks.SIZE, every_other)


@pytest.mark.parametrize("name", NAMES)
def test_keeping_everything_changes_nothing(name):
    model, known = traced(name)
    state = model.state_dict()
    cut = narrow(state, known.map, [])
    assert list(cut) == list(state)
    assert all(torch.equal(cut[key], state[key]) for key in state)


@pytest.mark.parametrize("name", NAMES)
def test_one_channel_left_still_runs(name):
    """The extreme cut: one channel per group."""

    def nearly_all(channel_map):
        removed = []
        for group in channel_map.groups:
            free = group.channels[group.free]
            if group.producers:
                removed += free[: min(len(free), len(group.channels) - 1)].tolist()
        return removed

    model, known = traced(name)
    result = narrow_proven(model, known, mini_networks.SIZE, nearly_all)
    assert result.difference < 1e-9
    assert torch.isfinite(result.model(torch.zeros(1, *mini_networks.SIZE))).all()
