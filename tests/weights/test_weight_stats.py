"""Facts about weight files: against numbers worked out by hand and the authors' own counts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from prune.weights import store
from prune.weights.stats import compare, count_params, describe, diff, form, tensor_stats
from prune.weights.store import WeightFile

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "authors"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")


def test_statistics_by_hand():
    facts = tensor_stats(np.array([0.0, 3.0, -4.0, 0.0], np.float32))
    assert facts == {
        "min": -4.0,
        "max": 3.0,
        "mean": -0.25,
        "std": pytest.approx(math.sqrt(25 / 4 - 1 / 16)),
        "norm": 5.0,
        "zeros": 0.5,
        "nonfinite": 0,
    }


def test_zero_filters_are_counted():
    weight_FCHW = np.zeros((5, 2, 3, 3), np.float32)
    weight_FCHW[1, 1, 2, 2] = 1e-30
    weight_FCHW[3] = np.nan
    assert tensor_stats(weight_FCHW)["zero_filters"] == 3


def test_nonfinite_and_empty_tensors_have_statistics():
    facts = tensor_stats(np.array([np.nan, np.inf, 2.0], np.float32))
    assert (facts["nonfinite"], facts["min"], facts["max"], facts["norm"]) == (2, 2.0, 2.0, 2.0)
    assert tensor_stats(np.array([np.nan], np.float32))["mean"] is None
    assert tensor_stats(np.zeros((0, 3), np.float32))["zeros"] is None
    assert tensor_stats(np.array(7))["mean"] == 7.0


def test_norms_do_not_overflow_float32():
    assert tensor_stats(np.full(4, 3e38, np.float32))["norm"] == pytest.approx(6e38, rel=1e-6)


def test_forms_are_told_apart():
    conv = {"a.conv.weight": np.zeros((1, 1, 1, 1), np.float32)}
    bias = {"a.conv.bias": np.zeros(1, np.float32)}
    bn = {"a.bn.running_var": np.zeros(1, np.float32)}
    compactor = {"a.compactor.pwc.weight": np.zeros((1, 1, 1, 1), np.float32)}
    assert form(WeightFile(conv | bn | compactor)) == "training"
    assert form(WeightFile(conv | bn)) == "plain"
    assert form(WeightFile(conv | bias | bn)) == "plain"  # VGG: a bias does not mean that the BN is folded
    assert form(WeightFile(conv | bias)) == "deploy"
    assert form(WeightFile(conv | {"linear.bias": np.zeros(1, np.float32)})) == "plain"


@needs_golden
def test_resreps_files_are_told_apart_and_counted():
    """423140 is what the authors' README gives for the converted network."""
    converted = store.read(GOLDEN / "resrep_src56_converted.hdf5")
    assert form(converted) == "deploy"
    assert count_params(converted) == 423140
    assert form(store.read(GOLDEN / "resrep_src56_train.hdf5")) == "training"


def test_only_trained_numbers_are_parameters():
    counted = {"conv.weight": np.zeros((2, 3)), "bn.weight": np.zeros(2), "bn.bias": np.zeros(2)}
    others = {
        "bn.running_mean": np.zeros(2),
        "bn.running_var": np.zeros(2),
        "bn.num_batches_tracked": np.array(1),
        "a.compactor.mask": np.zeros(2),
        "merge.index": np.arange(3),
    }
    assert count_params(WeightFile(counted | others, {}, np.arange(9))) == 10


def test_a_description_is_json_with_the_files_own_facts(tmp_path):
    path = tmp_path / "x.hdf5"
    store.write(path, WeightFile({"w": np.array([1.0, np.nan])}, {"arch": "x"}, np.array([3])))
    facts = json.loads(json.dumps(describe(path), allow_nan=False))
    assert facts["bytes"] == path.stat().st_size
    assert facts["sha256"] == store.sha256(path)
    assert (facts["form"], facts["format"], facts["params"]) == ("plain", "hdf5", 2)
    assert (facts["meta"], facts["deps"], facts["path"]) == ({"arch": "x"}, [3], str(path))
    [tensor] = facts["tensors"]
    assert (tensor["name"], tensor["shape"], tensor["dtype"], tensor["mean"]) == ("w", [2], "float32", 1.0)


def test_differences_by_hand(tmp_path):
    a = {
        "same": np.ones(2),
        "a": np.ones(1),
        "shape": np.ones((2, 1)),
        "w": np.array([1.0, 5.0]),
        "v": np.ones(3),
    }
    b = {
        "same": np.ones(2),
        "w": np.array([1.5, 3.0]),
        "shape": np.ones((1, 2)),
        "v": np.array([1, 1.25, 1]),
        "b": a["a"],
    }
    expected = {
        "identical": False,
        "only_in_a": ["a"],
        "only_in_b": ["b"],
        "shapes": [{"name": "shape", "a": [2, 1], "b": [1, 2]}],
        "max_abs": {"w": 2.0, "v": 0.25},
    }
    assert diff(WeightFile(a), WeightFile(b)) == expected
    assert list(diff(WeightFile(a), WeightFile(b))["max_abs"]) == ["w", "v"]
    store.write(tmp_path / "a.hdf5", WeightFile(a))
    store.write(tmp_path / "b.hdf5", WeightFile(b))
    paths = {"a": str(tmp_path / "a.hdf5"), "b": str(tmp_path / "b.hdf5")}
    assert compare(tmp_path / "a.hdf5", tmp_path / "b.hdf5") == paths | expected


def test_nan_equals_nan_and_nothing_else():
    def of(*values):
        return WeightFile({"w": np.array(values, np.float32)})

    assert diff(of(np.nan, np.inf), of(np.nan, np.inf))["identical"]
    assert diff(of(np.nan, 1), of(2, 1))["max_abs"] == {"w": None}
    assert diff(of(np.inf), of(-np.inf))["max_abs"] == {"w": None}
    assert diff(of(), of())["identical"]
