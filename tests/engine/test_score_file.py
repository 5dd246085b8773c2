import pytest
import torch
from prune.archs import registry
from prune.engine.allocations import required
from prune.engine.errors import CriterionError
from prune.engine.graph.trace import trace
from prune.engine.scores.score_file import load_scores, save_scores, skipping_unscored, unscored
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


def test_what_has_no_scores_is_said_in_forward_order(network, scores):
    first, _, third, *_ = scores
    del scores[third], scores[first]
    assert unscored(network, scores) == (first, third)


def test_what_has_no_scores_is_left_whole_and_said(network, scores):
    first, *_ = scores
    allocation = required({"rate": 0.5, "skip": "stage3.*"})
    assert skipping_unscored(allocation, network, scores) == (allocation, ())
    del scores[first]
    skipping, (note,) = skipping_unscored(allocation, network, scores)
    assert skipping == required({"rate": 0.5, "skip": ("stage3.*", first)})
    assert note == f"left whole, as there are no scores for them: {first}"


def test_widths_that_are_all_given_leave_nothing_out_for_want_of_scores(network, scores):
    del scores[next(iter(scores))]
    allocation = required({"deps": "16,8"})
    assert skipping_unscored(allocation, network, scores) == (allocation, ())
