"""HRank's published rank folders: which file is whose, and the filters its authors chose by them."""

import json

import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.engine.allocations.rate_list import RateList
from prune.engine.errors import CriterionError
from prune.engine.graph.filters import scored_layers
from prune.engine.graph.trace import trace
from prune.engine.jobs.job import Job, Pruning, Untrained
from prune.engine.jobs.prepare import prepare
from prune.engine.jobs.run import run_pruning
from prune.engine.network.fresh import new_network
from prune.engine.network.sources import Images
from prune.engine.scores.rank_folder import load_rank_folder
from prune.engine.scores.score_file import load_scores
from prune.engine.scores.scoring import Scoring
from prune.engine.selection.selection import channel_scores, removal_order
from recorded import arrays

torch.set_num_threads(1)

BRANCH_FILES = {"n1x1": 0, "n3x3": 1, "n5x5": 2, "pool_planes": 3}


@pytest.fixture(scope="module")
def maps():
    """Channel maps by arch, each made once."""
    made = {}

    def get(name):
        if name not in made:
            arch = registry.get(name)
            made[name] = trace(arch.build(10).eval(), (3, 32, 32)).map
        return made[name]

    return get


def write_folder(folder, ranks):
    folder.mkdir()
    for name, ranks_F in ranks.items():
        np.save(folder / f"rank_conv{name}.npy", ranks_F)
    return folder


def published(golden, folder, name):
    ranks = arrays(golden / "authors" / "hrank_published_ranks.npz")
    prefix = f"{name}/rank_conv"
    return write_folder(
        folder, {key.removeprefix(prefix): ranks[key] for key in ranks if key.startswith(prefix)}
    )


def numbered(widths):
    """Ranks that say in every entry which file they are from."""
    return {number: np.full(width, float(number)) for number, width in enumerate(widths, 1)}


def files_of(loaded):
    return {name: int(ranks_F[0]) for name, ranks_F in loaded.items()}


def test_a_folder_counts_by_number_not_by_letter(maps, tmp_path):
    layers = scored_layers(maps("resnet20"))
    folder = write_folder(tmp_path / "ranks", numbered([len(layer.out_ids) for layer in layers]))
    loaded = load_scores(folder, maps("resnet20"))
    assert files_of(loaded) == {layer.name: number for number, layer in enumerate(layers, 1)}
    assert all(ranks_F.dtype == torch.float64 for ranks_F in loaded.values())


def test_densenets_files_are_in_forward_order_with_the_transitions(maps, tmp_path):
    widths = [24, *[12] * 12, 168, *[12] * 12, 312, *[12] * 12]
    folder = write_folder(tmp_path / "ranks", numbered(widths))
    found = files_of(load_scores(folder, maps("densenet40")))
    assert len(found) == 39
    assert found["conv1"] == 1
    assert found["dense1.layer11.conv"] == 13
    assert found["transition1.conv"] == 14
    assert found["dense2.layer0.conv"] == 15
    assert found["dense3.layer11.conv"] == 39


@pytest.mark.parametrize("missing", [None, 4, 5])
def test_a_shortcut_is_numbered_before_what_it_is_added_to_and_shares_its_ranks(missing, maps, tmp_path):
    widths = [64]
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        widths += [width, width, 4 * width, 4 * width] + [width, width, 4 * width] * (blocks - 1)
    ranks = numbered(widths)
    if missing:
        del ranks[missing]
    found = files_of(load_scores(write_folder(tmp_path / "ranks", ranks), maps("resnet50")))
    assert len(found) == 53
    assert found["conv1.conv"] == 1
    assert found["stage1.block0.conv2.conv"] == 3
    assert found["stage1.projection.conv"] == {4: 5}.get(missing, 4)
    assert found["stage1.block0.conv3.conv"] == {5: 4}.get(missing, 5)
    assert found["stage2.projection.conv"] == 14
    assert found["stage4.block2.conv3.conv"] == 53


def test_googlenets_branches_have_files_of_their_own_and_its_reductions_none(maps, tmp_path):
    layers = {layer.name: len(layer.out_ids) for layer in scored_layers(maps("googlenet"))}
    ranks = {"1": np.full(192, 1.0)}
    last = {"n1x1": "1x1.conv1", "n3x3": "3x3.conv2", "n5x5": "5x5.conv3", "pool_planes": "_pool.conv1"}
    for number, module in enumerate(["a3", "b3", "a4", "b4", "c4", "d4", "e4", "a5", "b5"], 2):
        for branch, conv in last.items():
            width = layers[f"inception_{module}.branch{conv}.conv"]
            ranks[f"{number}_{branch}"] = np.full(width, 10.0 * number + BRANCH_FILES[branch])
    found = files_of(load_scores(write_folder(tmp_path / "ranks", ranks), maps("googlenet")))
    assert found["stem.conv"] == 1
    assert found["inception_a3.branch1x1.conv1.conv"] == 20
    assert found["inception_c4.branch5x5.conv2.conv"] == found["inception_c4.branch5x5.conv3.conv"] == 62
    assert found["inception_b5.branch_pool.conv1.conv"] == 103
    without = layers.keys() - found.keys()
    assert without == {name for name in layers if name.endswith(("3x3.conv1.conv", "5x5.conv1.conv"))}
    assert len(without) == 18


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no rank_conv1.npy; HRank's files for this network are rank_conv1.npy to rank_conv19.npy"),
        ([1, 3], "has no 'rank_conv2.npy', though it has 'rank_conv3.npy'"),
        ([1, 20], "has 'rank_conv20.npy'; HRank's files"),
        (["1", "2_n1x1"], "has 'rank_conv2_n1x1.npy'; HRank's files"),
    ],
)
def test_odd_folders_are_refused(maps, tmp_path, names, message):
    folder = write_folder(tmp_path / "ranks", dict.fromkeys(names, np.ones(16)))
    with pytest.raises(CriterionError, match=message):
        load_rank_folder(folder, maps("resnet20"))


@pytest.mark.parametrize("ranks", [np.ones((2, 2)), np.array(["a"]), np.array([{}], dtype=object)])
def test_odd_files_are_refused(maps, tmp_path, ranks):
    folder = write_folder(tmp_path / "ranks", {1: ranks})
    with pytest.raises(CriterionError, match=r"rank_conv1\.npy"):
        load_rank_folder(folder, maps("resnet20"))


def test_ranks_of_the_wrong_length_name_the_convolution(maps, tmp_path):
    folder = write_folder(tmp_path / "ranks", {1: np.ones(16), 2: np.ones(17)})
    with pytest.raises(CriterionError, match=r"'stage1\.block0\.conv1\.conv', which has 16 filters"):
        load_scores(folder, maps("resnet20"))


@pytest.mark.parametrize("name", ["resnet_56", "vgg_16_bn", "googlenet"])
def test_the_authors_choice_from_their_published_ranks(name, maps, golden, tmp_path):
    """The filters that leave each convolution when each is chosen from by itself, as theirs are."""
    channel_map = maps(registry.get(name).name)
    scores = load_scores(published(golden, tmp_path / "ranks", name), channel_map)
    recorded = json.loads((golden / "authors" / "hrank_selection.json").read_text())[name]
    convs = recorded["convs"]
    assert len(convs) == len(scores)
    for (conv, ranks_F), theirs in zip(scores.items(), convs, strict=True):
        assert len(ranks_F) == theirs["filters"]
        order = np.argsort(ranks_F.numpy(), kind="stable")
        kept = set(range(len(ranks_F))) - set(order[: int(theirs["rate"] * len(ranks_F))].tolist())
        agrees(kept, theirs, conv)
        (group,) = (g for g in channel_map.groups if conv in g.producers)
        if len(group.producers) == 1:  # elsewhere scatter decides, with the same two functions
            leaving = removal_order(group, channel_scores(channel_map, group, scores))
            kept = set(range(len(ranks_F))) - set(leaving[: theirs["pruned_num"]].tolist())
            agrees(kept, theirs, conv)


def agrees(kept, theirs, conv):
    assert len(kept) == theirs["filters"] - theirs["pruned_num"], conv
    assert kept.issuperset(theirs["must_keep"]), conv
    assert kept.isdisjoint(theirs["must_drop"]), conv
    if not theirs["cut_is_tied"]:
        assert kept == set(theirs["kept"]), conv


@pytest.mark.parametrize(
    ("name", "residual", "macs", "params"),
    [
        ("vgg_16_bn", "internal", 43_232_112, 1_353_859),
        ("googlenet", "internal", 248_687_884, 902_693),
        ("resnet_56", "scatter", None, None),
    ],
)
def test_pruning_by_a_published_folder_and_rates(name, residual, macs, params, golden, tmp_path):
    """As the command does; the convolutions without ranks stay whole, as in the authors' code."""
    recorded = json.loads((golden / "authors" / "hrank_selection.json").read_text())[name]
    scores = published(golden, tmp_path / "ranks", name)
    job = Job(
        command="prune",
        images=Images(),
        config=Untrained(device="cpu"),
        pruning=Pruning(
            allocation=RateList(compress_rate=recorded["compress_rate"], residual=residual),
            scoring=Scoring(scores=scores),
        ),
    )
    notes, pruned = [], None
    run = run_pruning(prepare(job, new_network(name)))
    while pruned is None:
        try:
            notes.append(next(run))
        except StopIteration as end:
            pruned = end.value
    for theirs, conv in zip(recorded["convs"], load_scores(scores, pruned.map), strict=True):
        agrees(set(pruned.kept[conv]), theirs, conv)
    if macs:
        assert (pruned.after.macs, pruned.after.params) == (macs, params)
        assert any("no scores for them" in note.text for note in notes)
        assert "skip" in pruned.network.history[-1]["options"]
