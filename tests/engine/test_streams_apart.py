"""Streams of unequal widths: what lies before a shortcut and behind it, each with channels of its own."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from prune.archs.units import ConvBN, PadShortcut
from prune.engine import api, criteria, recipes
from prune.engine.allocations import required
from prune.engine.compactors.folding import fold
from prune.engine.compactors.sites import insert, targets
from prune.engine.errors import ProofError
from prune.engine.graph.cost import count
from prune.engine.graph.residual import parted
from prune.engine.graph.trace import trace
from prune.engine.modules.fit import load
from prune.engine.narrowing.narrowing import narrow_as_planned, proven_difference
from prune.engine.narrowing.pruning import apart, prune_network
from prune.engine.narrowing.structure import structure_misfit
from prune.engine.narrowing.surgery import mask
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.recipes.account import variant_allocation
from streams import ARCH, CROPS, STAGE1, STAGE2, STAGE3, STEM, WIDTHS, indices, keep_rate, pruned, randomised
from torch import nn

torch.set_num_threads(1)
Randomise = Callable[[nn.Module], nn.Module]

PUBLISHED = "hrankplus/resnet56-47.4"


@pytest.fixture(scope="module")
def resnet20() -> Network:
    return randomised("resnet20")


@pytest.fixture(scope="module")
def resnet8() -> Network:
    return randomised(ARCH)


def masked_by_hand(network: Network, kept: dict[str, list[int]]) -> nn.Module:
    """The full network with filters that left set to zero, and no shortcut into channels that left."""
    model = copy.deepcopy(network.model)
    for name, stay in kept.items():
        conv, norm = (model.get_submodule(name.removesuffix("conv") + slot) for slot in ("conv", "bn"))
        stays_F = torch.zeros(len(conv.weight))
        stays_F[stay] = 1
        for tensor in (conv.weight, norm.weight, norm.bias, norm.running_mean):
            tensor.data *= stays_F.reshape(-1, *[1] * (tensor.dim() - 1))
        if name.endswith("block0.conv2.conv"):
            shortcut = model.get_submodule(name.replace("conv2.conv", "shortcut"))
            shortcut.register_forward_hook(
                lambda _, __, out_NFHW, stays_F=stays_F: out_NFHW * stays_F[:, None, None]
            )
    return model


def in_a_fresh_process(path: Path, images: torch.Tensor) -> np.ndarray:
    np.save(path.with_suffix(".images.npy"), images.numpy())
    code = f"""
import numpy, torch
torch.set_num_threads(1)
from prune.engine.network.files import load_network
images = torch.from_numpy(numpy.load(r"{path.with_suffix(".images.npy")}"))
with torch.no_grad():
    numpy.save(r"{path.with_suffix(".npy")}", load_network(r"{path}").model(images).numpy())
"""
    warm.run(["-c", code], path.parent, check=True)
    return np.load(path.with_suffix(".npy"))


def test_streams_are_one_until_they_are_told_apart(resnet20: Network):
    images = torch.randn(2, 3, 32, 32)
    whole, told = trace(resnet20.model, resnet20.input_size).map, apart(resnet20)
    by_name = {group.name: group.producers for group in whole.groups}
    assert by_name[STEM] == (STEM, *(f"stage1.block{i}.conv2.conv" for i in range(3)))
    assert STAGE1 not in by_name
    by_name = {group.name: group for group in trace(told.model, told.input_size).map.groups}
    assert by_name[STEM].producers == (STEM,)
    assert by_name[STAGE1].producers == tuple(f"stage1.block{i}.conv2.conv" for i in range(3))
    assert indices(resnet20.model) == {}
    assert indices(told.model) == {CROPS: list(range(16))}
    with torch.no_grad():
        assert torch.equal(told.model(images), resnet20.model(images))


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_a_network_of_unequal_widths_equals_the_masked_one(resnet8: Network, widths: tuple[float, ...]):
    outcome = pruned(resnet8, keep_rate=keep_rate(*widths))
    kept, images = outcome.kept, torch.randn(2, 3, 32, 32)
    fulls = {STEM: 16, STAGE1: 16, STAGE2: 32, STAGE3: 64}
    for (name, full), share in zip(fulls.items(), widths, strict=True):
        assert len(kept[name]) == max(1, int(full * share)), name
    # By the positions of the channels alone: the crop keeps what stands on both sides.
    expected = [kept[STEM].index(i) if i in kept[STEM] else -1 for i in kept[STAGE1]]
    assert indices(outcome.network.model)[CROPS] == expected
    with torch.no_grad():
        wanted = masked_by_hand(resnet8, kept)(images)
        torch.testing.assert_close(outcome.network.model(images), wanted, rtol=1e-4, atol=1e-4)
    assert outcome.difference < 1e-12
    assert count(trace(outcome.network.model, (3, 32, 32)).map) == outcome.after


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == PUBLISHED else [pytest.mark.soak])  # others by rates and depth
        for name in recipes.names()
        if name.startswith(("hrankplus/resnet56", "hrankplus/resnet110"))
    ],
)
def test_published_networks_are_narrow_proven_and_load_alone(name: str, randomise: Randomise, tmp_path: Path):
    recipe = recipes.get(name)
    network = new_network(recipe.arch)
    network = replace(network, model=randomise(network.model))
    scores = criteria.score("l1", network.model, trace(network.model, network.input_size))
    outcome = prune_network(network, variant_allocation(recipe.main), scores)
    assert (outcome.after.macs, outcome.after.params) == (recipe.main.macs, recipe.main.params)
    assert outcome.difference < 1e-12
    assert len(outcome.kept[STEM]) == 16 > len(outcome.kept[STAGE1])
    save_network(tmp_path / "narrow.hdf5", outcome.network)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = outcome.network.model(images).numpy()
    assert np.array_equal(in_a_fresh_process(tmp_path / "narrow.hdf5", images), expected)


def test_what_a_file_holds_apart_stays_apart(resnet8: Network, tmp_path: Path):
    """Budgets and rates see two groups, compactors and folding two sites; scatter and internal still work."""
    save_network(
        tmp_path / "a.hdf5", pruned(resnet8, keep_rate=keep_rate(*WIDTHS["cropped at once"])).network
    )
    network = load_network(tmp_path / "a.hdf5", ARCH)
    for residual in ("coupled", "internal", "scatter"):
        outcome = pruned(network, residual, flops=0.5)
        assert outcome.difference < 1e-12
        assert 0.4 < outcome.after.macs / outcome.before.macs <= 0.5
    groups = {group.name for group in trace(network.model, network.input_size).map.groups}
    assert {STEM, STAGE1, STAGE2, STAGE3} <= groups


def test_compactors_fold_where_a_shortcut_crops(resnet8: Network):
    model = apart(resnet8).model
    sites = insert(model, targets(model, trace(model, (3, 32, 32)), residual="coupled"))
    by_name = {site.name: site for site in sites}
    with torch.no_grad():
        for site in sites:
            width = len(site.row_ids)
            draw = torch.Generator().manual_seed(width)
            site.compactor.pwc.weight.add_(torch.randn(width, width, 1, 1, generator=draw) * 0.1)
        by_name[STEM].compactor.pwc.weight[[2, 5]] = 0
    folded = fold(model, (3, 32, 32))
    images = torch.randn(2, 3, 32, 32)
    assert len(folded.model.get_parameter(f"{STEM}.weight")) == 14
    assert indices(folded.model)[CROPS].count(-1) == 2
    with torch.no_grad():
        torch.testing.assert_close(folded.model(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", ["shifted", "shuffled", "uncropped"])
def test_the_value_proof_sees_a_wrong_crop(resnet8: Network, wrong: str):
    size = resnet8.input_size
    model = parted(resnet8.model, size)
    traced = trace(model, size)
    removed = frozenset(traced.map.layer(STAGE1).out_ids[[1, 7, 8]].tolist())
    thin = narrow_as_planned(model, traced, size, lambda _: removed).model
    masked = copy.deepcopy(model)
    load(masked, mask(model.state_dict(), traced.map, removed))
    assert proven_difference(masked, thin, traced, removed, size) < 1e-12

    shortcut = thin.get_submodule("stage1.block0.shortcut")
    assert isinstance(shortcut, PadShortcut)
    assert shortcut.index is not None
    shortcut.index = {
        "shifted": (shortcut.index + 1).clamp(max=15),
        "shuffled": shortcut.index.flip(0),
        "uncropped": torch.arange(len(shortcut.index)),
    }[wrong]
    with pytest.raises(ProofError, match="the narrow network differs"):
        proven_difference(masked, thin, traced, removed, size)


def test_the_structure_proof_sees_a_crop_of_another_width(resnet8: Network):
    size = resnet8.input_size
    model = parted(resnet8.model, size)
    traced = trace(model, size)
    planned, other = (
        frozenset(traced.map.layer(STAGE1).out_ids[rows].tolist()) for rows in ([1, 7], [1, 7, 8])
    )
    thin = trace(narrow_as_planned(model, traced, size, lambda _: planned).model, size)
    assert structure_misfit(traced, thin, planned) is None
    misfit = structure_misfit(traced, thin, other)
    assert misfit is not None
    assert "does not follow its channels" in misfit.reason


class Joined(nn.Module):
    """What a shortcut takes are the outputs of two convolutions, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.branch = ConvBN(3, 4, 3), ConvBN(3, 4, 3), ConvBN(8, 8, 3)
        self.shortcut, self.fc = PadShortcut(8, 8, 1), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat((self.a(x), self.b(x)), 1).relu()
        return self.fc((self.shortcut(x) + self.branch(x)).relu().mean((2, 3)))


def test_a_shortcut_may_take_what_several_convolutions_make(randomise: Randomise):
    network = api.wrap(randomise(Joined()), (3, 8, 8))
    rates = ("a.conv=0.25", "b.conv=0.25", "branch.conv=0.5")
    outcome = prune_network(
        network,
        required({"layer_rates": rates, "residual": "coupled"}),
        criteria.score("l1", network.model, trace(network.model, (3, 8, 8))),
    )
    sizes = [len(outcome.kept[name]) for name in ("a.conv", "b.conv", "branch.conv")]
    assert sizes == [3, 3, 4]
    assert len(indices(outcome.network.model)["shortcut.index"]) == 4
