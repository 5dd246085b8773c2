"""Criteria and allocations against numbers recorded from the authors' own programs."""

import hashlib
import json
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.engine import criteria, recipes
from prune.engine.allocations import required
from prune.engine.allocations.norm_distance import NormDistance
from prune.engine.allocations.rate_list import RateList
from prune.engine.criteria.fpgm import geometric_median_scores
from prune.engine.criteria.l1 import l1_norms
from prune.engine.graph.channels import Group
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.fresh import new_network
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.selection import removal_order
from prune.weights.formats import read_any
from prune.weights.names import to_ours
from recorded import arrays
from torch import nn

torch.set_num_threads(1)

FILES = {
    "resnet20": "resnet20-12fca82f.th",
    "resnet32": "resnet32-d509ac18.th",
    "resnet44": "resnet44-014dd654.th",
    "resnet56": "resnet56-4bfd9763.th",
}


@cache
def pretrained(arch_name, folder):
    """akamaster's network in ours, its trace, and its convolutions in forward order."""
    tensors = to_ours(read_any(folder / "weights" / FILES[arch_name]).tensors, "akamaster")
    model = registry.get(arch_name).build(10)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False)
    model.eval()
    traced = trace(model, (3, 32, 32))
    return model, traced, [layer.name for layer in traced.map.layers if layer.kind == "conv"]


def lone_group(n):
    return Group("conv", np.arange(n), ("conv",), False, {})


@pytest.fixture(scope="session")
def fpgm(shared_golden):
    return json.loads((shared_golden / "authors" / "fpgm_selection.json").read_text())


def fpgm_cases(fpgm, prefix):
    cases = {key: case for key, case in fpgm.items() if key.startswith(prefix) and case["arch"] in FILES}
    assert cases
    return cases.items()


def test_fpgm_selects_the_authors_filters(fpgm, shared_data):
    for key, case in fpgm_cases(fpgm, "resnet"):
        model, traced, convs = pretrained(case["arch"], shared_data)
        assert len(convs) == len(case["convs"])
        allocation = NormDistance(rate_norm=case["rate_norm"], rate_dist=case["rate_dist"])
        for name, expected in zip(convs, case["convs"], strict=True):
            # Every convolution alone, also those that end in a stream: the authors mask each by itself.
            layer = traced.map.layer(name)
            group = Group(name, layer.out_ids, (name,), False, {})
            alone = Prunable(map=replace(traced.map, groups=(group,)), weights=model.state_dict())
            selection = allocation.select(alone, {})
            gone = set(np.flatnonzero(np.isin(layer.out_ids, list(selection.removed))).tolist())
            assert gone == set(expected["removed_by_norm"]) | set(expected["removed_by_distance"]), (
                key,
                name,
            )


def test_cosine_scores_are_the_authors_sums_of_similarity_turned_round(fpgm, shared_data):
    compared = 0
    for key, case in fpgm_cases(fpgm, "resnet"):
        for index, expected in enumerate(case.get("variant_conditions_evaluated", {}).get("cos", [])):
            model, traced, convs = pretrained(case["arch"], shared_data)
            weight_FCHW = model.state_dict()[traced.map.layer(convs[index]).weight]
            stay = np.setdiff1d(np.arange(len(weight_FCHW)), expected["removed_by_norm"])
            similarity_S = -geometric_median_scores(weight_FCHW[torch.from_numpy(stay)], "cosine")
            least = stay[torch.argsort(similarity_S, stable=True)[: len(expected["removed_by_distance"])]]
            assert set(least.tolist()) == set(expected["removed_by_distance"]), (key, convs[index])
            compared += 1
    assert compared > 50


def test_distances_select_what_torch_ao_selects(fpgm, shared_data):
    for key, case in fpgm_cases(fpgm, "torch_ao"):
        model, traced, convs = pretrained(case["arch"], shared_data)
        for name, expected in zip(convs, case["convs"], strict=True):
            weight_FCHW = model.state_dict()[traced.map.layer(name).weight]
            scores_F = geometric_median_scores(weight_FCHW, "l2" if case["dist"] == 2 else "l1").numpy()
            order = removal_order(lone_group(len(scores_F)), scores_F)
            # torch.ao rounds where the authors, and we, cut off.
            kept = np.sort(order[round(case["sparsity_level"] * len(order)) :])
            assert kept.tolist() == expected["kept"], (key, name)


def test_l1_norms_select_what_pfec_selects(golden):
    recorded = json.loads((golden / "authors" / "pfec_vgg_selection.json").read_text())
    widths = [width for width in recorded["cfg"] if width != "M"]
    state = np.random.RandomState(recorded["seed"])
    in_channels = 3
    for expected, width in zip(recorded["convs"], widths, strict=True):
        n = expected["filters"]
        normal = state.standard_normal((n, in_channels, 3, 3)) * math.sqrt(2 / (9 * n))
        weight = (normal * state.uniform(0.5, 1.5, n)[:, None, None, None]).astype(np.float32)
        assert hashlib.sha256(weight.tobytes()).hexdigest() == expected["sha256_float32_weight"]
        scores_F = l1_norms(torch.from_numpy(weight)).numpy()
        assert scores_F[:4].tolist() == pytest.approx(expected["l1_first4_float64"], rel=1e-12)
        kept = np.sort(removal_order(lone_group(n), scores_F)[n - width :])
        assert kept.tolist() == expected["kept"], expected["module"]
        in_channels = n


def test_the_recipe_prunes_as_pfec_does(golden):
    """Kept filters and narrow weights of the whole network, by the recipe's own settings."""
    recorded = json.loads((golden / "authors" / "pfec_vgg_selection.json").read_text())
    recipe = recipes.get("fpgm/vgg16-pfec")
    network = new_network(recipe.arch)
    state, in_channels = np.random.RandomState(recorded["seed"]), 3
    convs = [module for module in network.model.modules() if isinstance(module, nn.Conv2d)]
    for conv, expected in zip(convs, recorded["convs"], strict=True):
        n = expected["filters"]
        normal = state.standard_normal((n, in_channels, 3, 3)) * math.sqrt(2 / (9 * n))
        weight = (normal * state.uniform(0.5, 1.5, n)[:, None, None, None]).astype(np.float32)
        conv.weight.data = torch.from_numpy(weight)
        in_channels = n
    traced = trace(network.model, network.input_size)
    scores = criteria.score(recipe.options["criterion"], network.model, traced)
    pruned = prune_network(network, required(recipe.main.specification), scores, traced=traced)
    kept = [filters for name, filters in pruned.kept.items() if not name.startswith("linear")]
    assert kept == [expected["kept"] for expected in recorded["convs"]]
    narrow = [module.weight for module in pruned.model.modules() if isinstance(module, nn.Conv2d)]
    for weight_FCHW, expected in zip(narrow, recorded["convs"], strict=True):
        assert list(weight_FCHW.shape) == expected["new_weight_shape"]
        total = float(weight_FCHW.detach().double().sum())
        assert total == pytest.approx(expected["new_weight_sum_float64"], abs=1e-9)


@pytest.mark.parametrize("theirs", ["resnet_56", "vgg_16_bn", "googlenet"])
def test_published_ranks_select_the_authors_filters(golden, theirs):
    ranks = arrays(golden / "authors" / "hrank_published_ranks.npz")
    case = json.loads((golden / "authors" / "hrank_selection.json").read_text())[theirs]
    exact = 0
    for conv in case["convs"]:
        if not conv.get("rank_file"):
            continue
        n, wanted = conv["filters"], int(conv["rate"] * conv["filters"])
        assert wanted == conv["pruned_num"]
        scores_F = ranks[f"{theirs}/{conv['rank_file']}"].astype(np.float64)
        kept = np.sort(removal_order(lone_group(n), scores_F)[wanted:]).tolist()
        assert len(kept) == n - wanted
        assert set(kept) >= set(conv["must_keep"])
        assert not set(kept) & set(conv["must_drop"])
        if conv["cut_is_tied"]:
            assert kept == conv["kept_variants"]["stable"]
        else:
            assert kept == conv["kept"]
            exact += 1
    assert exact


def test_published_ranks_select_through_the_whole_allocation(golden, shared_data):
    ranks = arrays(golden / "authors" / "hrank_published_ranks.npz")
    case = json.loads((golden / "authors" / "hrank_selection.json").read_text())["resnet_56"]
    _, traced, convs = pretrained("resnet56", shared_data)
    scores = {name: ranks[f"resnet_56/rank_conv{i}"] for i, name in enumerate(convs, 1)}
    allocation = RateList(compress_rate=case["compress_rate"])
    selection = allocation.select(Prunable(map=traced.map), scores)
    assert len(selection.counts) == 27
    for name, conv in zip(convs, case["convs"], strict=True):
        kept = traced.map.kept(name, selection.removed).tolist()
        if name in selection.ignored:
            assert len(kept) == conv["filters"]
        else:
            assert len(kept) == conv["filters"] - conv["pruned_num"]
            assert set(kept) >= set(conv["must_keep"])
            assert not set(kept) & set(conv["must_drop"])


@pytest.mark.parametrize("arch_name", ["resnet20", "resnet56"])
def test_hrank_gives_the_authors_ranks(shared_golden, shared_data, arch_name):
    golden = arrays(shared_golden / "authors" / f"hrank_rank_{arch_name}.npz")
    photos = arrays(shared_golden / "authors" / "cifar_images64.npz")["images_uint8_nhwc"]
    normalised = (photos / 255.0 - [0.4914, 0.4822, 0.4465]) / [0.2023, 0.1994, 0.2010]
    images = torch.from_numpy(normalised.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    model, traced, convs = pretrained(arch_name, shared_data)
    batches = [(part, torch.zeros(len(part))) for part in images.split(32)]
    scores = criteria.score("hrank", model, traced, batches=batches)
    assert list(scores) == convs
    ours = torch.cat(list(scores.values())).numpy()
    theirs = np.concatenate([golden[f"avg_rank_{i:03d}"] for i in range(1, len(convs) + 1)])
    assert (ours == theirs).mean() >= 0.995
    assert np.abs(ours - theirs).max() <= 2 / 64
