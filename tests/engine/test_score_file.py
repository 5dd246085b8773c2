import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.engine.allocation.rates import parse_rates
from prune.engine.allocation.selection import by_rate_list, prunable_groups
from prune.engine.errors import AllocationError, CriterionError
from prune.engine.graph.trace import trace
from prune.engine.score_file import load_rank_folder, load_scores, save_scores
from prune.weights.store import read

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network():
    return trace(registry.get("resnet20").build(10).eval(), (3, 32, 32)).map


@pytest.fixture
def scores(network):
    convs = [layer for layer in network.layers if layer.kind == "conv"]
    return {layer.name: torch.randint(0, 2048, (len(layer.out_ids),)).double() / 64 for layer in convs}


def test_round_trip(network, scores, tmp_path):
    path = tmp_path / "scores.hdf5"
    save_scores(path, scores, {"criterion": "hrank", "images": 64})
    loaded = load_scores(path, network)
    assert loaded.keys() == scores.keys()
    assert all(loaded[name].dtype == torch.float64 for name in loaded)
    assert all(torch.equal(loaded[name], scores[name]) for name in scores)
    assert read(path).meta == {"criterion": "hrank", "images": 64, "kind": "scores"}


def test_scores_of_another_network_are_refused(network, scores, tmp_path):
    first, second = list(scores)[:2]
    cases = {
        "did you mean": {**scores, "stage1.conv9": torch.ones(3)},
        f"no scores for '{second}'": {name: value for name, value in scores.items() if name != second},
        "which has 16 filters": {**scores, first: torch.ones(15)},
        "not finite": {**scores, first: torch.full((16,), torch.inf)},
    }
    for message, odd in cases.items():
        path = tmp_path / "scores.hdf5"
        save_scores(path, odd, {}, force=True)
        with pytest.raises(CriterionError, match=message):
            load_scores(path, network)


def write_folder(folder, ranks):
    folder.mkdir()
    for number, ranks_F in ranks.items():
        np.save(folder / f"rank_conv{number}.npy", ranks_F)
    return folder


def test_a_rank_folder_counts_by_number_not_by_letter(network, tmp_path):
    widths = [len(layer.out_ids) for layer in network.layers if layer.kind == "conv"]
    folder = write_folder(tmp_path / "ranks", {i: np.full(n, float(i)) for i, n in enumerate(widths, 1)})
    loaded = load_scores(folder, network)
    assert [values[0].item() for values in loaded.values()] == list(range(1, 20))
    assert list(loaded) == [layer.name for layer in network.layers if layer.kind == "conv"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([], "found: none"),
        ([1, 3], "without gaps; found: 1, 3"),
        ([1, 2, 3, 4], "4 files, and the network has 3"),
        (["1", "2_n1x1"], "files per branch"),
    ],
)
def test_odd_rank_folders_are_refused(tmp_path, numbers, message):
    folder = write_folder(tmp_path / "ranks", dict.fromkeys(numbers, np.ones(4)))
    with pytest.raises(CriterionError, match=message):
        load_rank_folder(folder, ["a", "b", "c"])


@pytest.mark.parametrize("ranks", [np.ones((2, 2)), np.array(["a"]), np.array([{}], dtype=object)])
def test_odd_rank_files_are_refused(tmp_path, ranks):
    folder = write_folder(tmp_path / "ranks", {1: ranks})
    with pytest.raises(CriterionError, match=r"rank_conv1\.npy"):
        load_rank_folder(folder, ["a"])


def test_ranks_of_the_wrong_length_name_the_convolution(network, tmp_path):
    folder = write_folder(tmp_path / "ranks", {1: np.ones(16), 2: np.ones(17)})
    with pytest.raises(CriterionError, match=r"'stage1\.block0\.conv1\.conv', which has 16 filters"):
        load_scores(folder, network)


@pytest.mark.parametrize("arch_name", ["resnet56", "vgg16_bn"])
def test_hranks_published_folders_load(shared_golden, tmp_path, arch_name):
    published = np.load(shared_golden / "authors" / "hrank_published_ranks.npz")
    theirs = {"resnet56": "resnet_56", "vgg16_bn": "vgg_16_bn"}[arch_name]
    ranks = {
        int(key.rpartition("conv")[2]): published[key]
        for key in published.files
        if key.startswith(theirs + "/")
    }
    folder = write_folder(tmp_path / "ranks", ranks)
    network = trace(registry.get(arch_name).build(10).eval(), (3, 32, 32)).map
    loaded = load_scores(folder, network)
    assert [values.tolist() for values in loaded.values()] == [
        ranks[number].astype(float).tolist() for number in sorted(ranks)
    ]
    if arch_name == "vgg16_bn":  # HRank never prunes the 13th
        rates = parse_rates("[0.95]+[0.5]*6+[0.9]*4+[0.8]*2")
        with pytest.raises(AllocationError, match="no scores for"):
            by_rate_list(network, prunable_groups(network), loaded, rates)
        rates[-1] = 0.0
        assert by_rate_list(network, prunable_groups(network), loaded, rates).removed
