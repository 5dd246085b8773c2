"""Whatever network is drawn and whatever leaves it: narrow equals masked, and survives its file.

What *masked* means is worked out here and not asked of the engine: a filter is known by its bias, and where
one is gone from the narrow network, a hook zeroes what that module makes of it in the full one.
"""

import copy
import importlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prune.engine.graph.channels import ChannelMap
from prune.engine.graph.residual import view
from prune.engine.graph.trace import trace
from prune.engine.narrowing import crashes, narrowing
from prune.engine.narrowing.thin import cut_proven
from prune.engine.network.files import load_network, save_network
from prune.engine.network.network import Network
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parent))
random_networks = importlib.import_module("random_networks")
build, networks, SIZE = random_networks.build, random_networks.networks, random_networks.SIZE

ARCH = "random_networks:drawn"
MODES = ("internal", "coupled", "scatter")
HOW = (st.sampled_from(MODES), st.floats(0.1, 1.0), st.integers(0, 2**16))
SMALL, CASES = given(networks(most_steps=5), *HOW), given(networks(), *HOW)
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
FEW = settings(max_examples=50, derandomize=True, phases=[Phase.explicit, Phase.generate], **QUIET)
MANY = settings(max_examples=3000, derandomize=False, print_blob=True, **QUIET)

tally: Counter[str] = Counter()


def any_of(channel_map: ChannelMap, residual: str, share: float, seed: int) -> list[int]:
    """Some of the free channels of every group; of each layer that makes a part of one, one stays."""
    rng = np.random.default_rng(seed)
    removed: list[int] = []
    for group in channel_map.groups:
        if not group.producers or (group.stream and residual != "coupled"):
            continue
        leave = [c for c in group.channels[group.free].tolist() if rng.random() < share]
        for part in (*group.parts, group.channels):
            if set(part.tolist()) <= set(leave):
                leave.remove(int(rng.choice(part)))
        removed += leave
    return removed


def masked_by_hand(full: nn.Module, narrow: nn.Module) -> nn.Module:
    """A copy of the full network in which what the narrow one lacks is zero wherever a module makes it."""
    masked = copy.deepcopy(full)
    thin = dict(narrow.named_modules())

    def zero(gone: list[int], axis: int):
        return lambda _, __, made: made.index_fill(axis, torch.tensor(gone), 0)

    for name, module in masked.named_modules():
        bias = module._parameters.get("bias")
        if bias is None:
            continue
        kept = set(thin[name].bias.tolist())
        gone = [position for position, value in enumerate(bias.tolist()) if value not in kept]
        assert len(gone) + len(kept) == len(bias)
        if gone:
            module.register_forward_hook(zero(gone, -1 if isinstance(module, nn.Linear) else 1))
    return masked


@torch.no_grad()
def outputs(network: nn.Module, images_NCHW: Tensor) -> list[Tensor]:
    return tree_leaves(copy.deepcopy(network).double().eval()(images_NCHW))


def check(case, residual: str, share: float, seed: int, folder) -> None:
    full = build(*case)
    traced = trace(full, SIZE)
    seen = view(full, traced, SIZE, residual)
    thin = cut_proven(seen, SIZE, lambda channel_map: frozenset(any_of(channel_map, residual, share, seed)))
    tally["cases"] += 1
    tally["narrowed"] += bool(thin.removed)
    images = torch.randn(3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    narrow = outputs(thin.model, images)
    masked = outputs(masked_by_hand(full, thin.model), images)
    for a, b in zip(narrow, masked, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))
    assert sum(p.numel() for p in thin.model.parameters()) == thin.after.params
    random_networks.last = case
    path = folder / "thin.hdf5"
    save_network(path, Network(thin.model, ARCH, random_networks.CLASSES, SIZE), force=True)
    loaded = load_network(path, ARCH)
    for a, b in zip(outputs(loaded.model, images), narrow, strict=True):
        assert torch.equal(a, b)


@SMALL
@FEW
def test_narrow_equals_masked(tmp_path_factory, case, residual, share, seed):
    check(case, residual, share, seed, folder(tmp_path_factory))


def test_a_part_of_which_nothing_is_left(tmp_path):
    """Code takes all channels but the first: of one that stays, none."""
    steps = (("block", (0,), (3, 7)), ("transposed", (1,), (7, 1)), ("mix", (2,), ("literal",)))
    check((steps, 1, "pool"), "internal", 1.0, 0, tmp_path)


@pytest.mark.soak
@CASES
@MANY
def test_narrow_equals_masked_thousands_of_times(tmp_path_factory, case, residual, share, seed):
    check(case, residual, share, seed, folder(tmp_path_factory))


def folder(factory):
    """One for all cases: a function-scoped one would be a case's."""
    path = factory.getbasetemp() / "properties"
    path.mkdir(exist_ok=True)
    return path


def test_most_of_the_networks_could_be_narrowed():
    if not tally:
        pytest.skip("no network was drawn in this run")
    assert tally["narrowed"] > 0.6 * tally["cases"], tally


def test_the_check_itself_can_fail(tmp_path, monkeypatch):
    """Where two filters have changed places, and the engine's own proof is silenced, it is found out here."""
    steps = (("block", (0,), (3, 6)), ("conv", (1,), (6, 5, 3, 1, 1)), ("activation", (2,), ("relu",)))
    case = (steps, 5, "pool")
    check(case, "internal", 0.5, 1, tmp_path)
    monkeypatch.setattr(narrowing, "value_difference", lambda *args: 0.0)
    cut = crashes.narrow

    def swapped(*args):
        state = cut(*args)
        return {**state, "fc.weight": state["fc.weight"].flip(1)}

    monkeypatch.setattr(crashes, "narrow", swapped)
    with pytest.raises(AssertionError):
        check(case, "internal", 0.5, 1, tmp_path)
