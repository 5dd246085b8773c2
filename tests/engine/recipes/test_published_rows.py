"""Every published row: networks as recorded, its paper's count as printed, or the difference explained."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from prune.engine import recipes
from prune.engine.allocations import norm_distance
from prune.engine.recipes.account import Account, accounts
from soaked import often
from torch import Tensor

NAMES = recipes.names()
# As ResNet-56, ResNet-18 and ResNet-50, with more blocks: a quarter of the rows, most of the time.
DEEPEST = ("resnet110", "resnet34", "resnet101", "resnet152")
EACH = often(NAMES, but=[name for name in NAMES if recipes.get(name).arch in DEEPEST])
ARCHS = {"r18": "resnet18", "r20": "resnet20", "r32": "resnet32", "r34": "resnet34", "r50": "resnet50"}
ARCHS |= {"r56": "resnet56", "r101": "resnet101", "r110": "resnet110", "r152": "resnet152"}

# What cannot be recomputed as it is printed: nothing else may join this list unnoticed.
MISPRINTED = {
    "hrank/vgg16": {"flops", "flops_drop", "params", "params_drop"},
    "hrank/resnet110": {"flops", "params"},
    "hrankplus/resnet56-74.1": {"flops_drop", "params_drop"},
    "hrankplus/googlenet-57.2": {"flops_drop"},
    "hrankplus/googlenet-73.9": {"flops_drop"},
    "hrankplus/densenet40-38.5": {"flops_drop"},
    "hrankplus/densenet40-52.7": {"flops_drop"},
    "hrankplus/densenet40-59.9": {"flops_drop"},
    "fpgm/resnet20-30": {"flops"},
    "fpgm/resnet101-30": {"flops_drop"},
    "filtersketch/resnet110": {"flops", "flops_drop", "params", "params_drop"},
    "filtersketch/resnet56-0.8": {"flops_drop"},
}


@pytest.fixture(scope="module")
def counted() -> Callable[[str], Account]:
    """The account of a recipe; all of an arch are counted together."""

    def all_alike(weight_FCHW: Tensor, _: str) -> Tensor:
        """The weights are zeros here, as far apart as this; to measure it takes a quarter of the time."""
        assert not weight_FCHW.any()
        return torch.zeros(len(weight_FCHW), dtype=torch.float64)

    @cache
    def of_arch(arch: str) -> dict[str, Account]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(norm_distance, "geometric_median_scores", all_alike)
            found = accounts(recipe for recipe in recipes.matching("*") if recipe.arch == arch)
            return {account.recipe.name: account for account in found}

    return lambda name: of_arch(recipes.get(name).arch)[name]


@pytest.fixture(scope="module")
def rows(published_rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Recipe name -> the row recorded from the authors' networks and counters."""
    return {_name(row): row for row in published_rows.values()}


def _name(row: Mapping[str, Any]) -> str:
    paper, _, rest = row["id"].partition("-")
    paper = {"fs": "filtersketch"}.get(paper, paper)
    if paper == "resrep":
        return f"resrep/{rest.removeprefix('s').replace('rc', 'resnet').replace('res50', 'resnet50')}"
    arch, _, what = rest.partition("-")
    arch = ARCHS.get(arch, arch)
    if paper != "fpgm" or arch == "vgg16":
        return f"{paper}/{arch}" + (f"-{what.removeprefix('uniform')}" if what else "")
    share = round(100 * (1 - row["rate_norm"] + row["rate_dist"]))
    how = "" if row["rate_norm"] == 1 else "mix"
    return f"fpgm/{arch}-{how}{share}" + ("-text" if what.endswith("text") else "")


@pytest.mark.parametrize("name", EACH)
def test_networks_are_as_recorded(counted, rows, name):
    recorded = rows.get(name, {}).get("narrow") or {}
    for reading in counted(name).readings:
        variant, cost = reading.variant, reading.cost
        found = (None, None) if cost is None else (cost.macs, cost.params)
        assert found == (variant.macs, variant.params), variant.name
        if cost is not None and recorded:
            theirs = sorted(tuple(layer[:2]) for layer in recorded[variant.name]["layers"].values())
            assert sorted((layer.in_, layer.out) for layer in cost.layers) == theirs, variant.name


@pytest.mark.parametrize("name", EACH)
def test_only_the_widths_of_one_row_are_unknown(counted, name):
    unknown = any(reading.cost is None for reading in counted(name).readings)
    assert unknown == (name == "resrep/resnet56")


@pytest.mark.parametrize("name", EACH)
def test_counts_are_as_printed_or_explained(counted, name):
    account = counted(name)
    wrong = {what for what, agrees in account.printed.items() if agrees is False}
    assert wrong == MISPRINTED.get(name, set())
    assert not wrong or account.recipe.explanation


def test_every_row_is_there(rows):
    assert len(rows) == 56
    assert set(rows) <= set(NAMES)
    later = {name for name in set(NAMES) - set(rows) if not name.endswith(("-pretrained", "-scratch"))}
    assert {name.partition("/")[0] for name in later} == {"hrankplus"}


def test_records_are_the_recorded_ones(rows):
    for name, row in rows.items():
        recipe = recipes.get(name)
        narrow = {v: (n["macs"], n["params"]) for v, n in (row.get("narrow") or {}).items()}
        ours = {v.name: (v.macs, v.params) for v in recipe.variants if v.macs is not None}
        assert ours == narrow, name
        assert not narrow or recipe.main.name == row["primary_variant"]
        printed = row.get("published") or {}
        assert recipe.published.flops == (printed.get("flops") or ""), name
        assert recipe.published.flops_drop == (printed.get("flops_drop_pct") or ""), name
        assert recipe.published.params == (printed.get("params") or ""), name
        assert recipe.published.params_drop == (printed.get("params_drop_pct") or ""), name


def test_accuracies_are_the_published_ones(rows):
    for name, row in rows.items():
        printed = (row.get("published") or {}).get("top1")
        if isinstance(printed, dict):
            own = {n: recipes.get(n).published.top1 for n in NAMES if n.startswith(name)}
            assert set(own.values()) >= {f"{top1:.2f}%" for top1 in printed.values()}, name
        elif printed:
            assert recipes.get(name).published.top1 == printed.removesuffix(" (no drop)"), name


@pytest.mark.parametrize("name", EACH)
def test_the_papers_counts_are_those_of_their_programs(counted, rows, name):
    tool = rows.get(name, {}).get("reference_counter")
    if not tool:
        return
    account = counted(name)
    if name.startswith("filtersketch/"):
        version = {"thop-2019": "1912", "thop-2020": "2005", "plain": "(own)"}[account.recipe.counted_as]
        tool = next(numbers for tool_name, numbers in tool.items() if version in tool_name)
    assert account.paper.flops == tool["baseline_flops"]
    if "pruned_flops" in tool:
        # HRank's slip for GoogLeNet is a variant of its own; the counter's numbers are of that one.
        assert account.counted.paper.flops == tool["pruned_flops"]
    if "pruned_params" in tool:
        assert account.counted.paper.params == tool["pruned_params"]
        assert account.paper.params == tool["baseline_params"]


@pytest.mark.parametrize("name", EACH)
def test_a_row_said_to_match_does(counted, rows, name):
    said = rows[name]["match"].get("flops", "") if name in rows else ""
    amount_or_drop = [counted(name).printed[what] for what in ("flops", "flops_drop")]
    if said.startswith("yes"):
        assert True in amount_or_drop
    if said == "NO":
        assert True not in amount_or_drop


@pytest.mark.parametrize("name", EACH)
def test_the_unpruned_network_is_the_recorded_one(counted, rows, name):
    if name in rows:
        cost, full = counted(name).cost, rows[name]["baseline"]
        assert (cost.macs, cost.params) == (full["macs"], full["params"])


def test_specifications_are_the_printed_ones(rows):
    for name, row in rows.items():
        own = recipes.get(name).main.specification
        text = row["rates_spec"]
        if "rate_norm" in own:
            assert re.findall(r"[\d.]+", text) == [f"{own[key]:g}" for key in ("rate_norm", "rate_dist")], (
                name
            )
        elif "deps" in own:
            assert list(own["deps"]) == row["deps"]
        elif "flops" in own:
            assert text == f"flops_target={own['flops']}"
        elif name != "fpgm/vgg16-pfec":  # printed as widths, which its cost says
            assert text in own.values(), name
