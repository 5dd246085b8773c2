"""Metadata that says what it cannot mean: one line names the field, in HDF5 and safetensors alike."""

import json

import h5py
import numpy as np
import pytest
from prune.weights.errors import BadWeightFile
from prune.weights.metadata import history_of
from prune.weights.store import read


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"arch": 3}, "arch is 3; it must be a text"),
        ({"arch": ["resnet20"]}, "arch is"),
        ({"num_classes": "10"}, "num_classes is '10'; it must be a whole number from 0 to 100000"),
        ({"num_classes": True}, "num_classes is True"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"num_classes": 10**12}, "num_classes is 1000000000000"),
        ({"num_classes": 10.0}, "num_classes is 10.0"),
        ({"input_size": 32}, "input_size is 32; it must be a list"),
        ({"input_size": [3, "32", 32]}, r"input_size\[1\] is '32'"),
        ({"input_size": [3, 0, 32]}, r"input_size\[1\] is 0"),
        ({"input_size": {"C": 3}}, "input_size is"),
        ({"normalization": [0.5]}, "normalization is"),
        ({"normalization": {"mean": [0.5]}}, "'normalization.std' is missing"),
        ({"normalization": {"mean": [0.5], "std": [0]}}, r"normalization.std\[0\] is 0; it must be a number"),
        ({"normalization": {"mean": [float("nan")], "std": [1]}}, r"normalization.mean\[0\] is nan"),
        ({"class_names": "cat"}, "class_names is 'cat'"),
        ({"class_names": [1]}, r"class_names\[0\] is 1"),
        ({"folded": ["bn"]}, "folded is"),
        ({"folded": {"bn1": 3}}, "folded.bn1 is 3"),
        ({"ties": {"a": None}}, "ties.a is None"),
        ({"accuracy": 93.5}, "accuracy is 93.5; it must be an object"),
        ({"accuracy": {"top1": "93"}}, "accuracy.top1 is '93'"),
        ({"accuracy": {"dataset": 3}}, "accuracy.dataset is 3"),
        ({"accuracy": {"top1": "9" * 1000}}, r"accuracy.top1 is '9{59}\.\.\.; it must be"),
        ({"checksums": {"w": "00000000"}}, "lost a part of its checksums"),
        ({"checksums": []}, "checksums is"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(tmp_path, meta, message):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.attrs["prune"] = json.dumps({"format": 1, **meta})
        file["w"] = np.ones(2)
    with pytest.raises(BadWeightFile, match=message) as caught:
        read(tmp_path / "x.hdf5")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "history", ["a word", {"a": 1}, [3], [["command"]], [{"command": 3}], [{"parent": 3}]]
)
def test_a_history_of_no_steps_is_not_gone_on_with(history):
    with pytest.raises(BadWeightFile, match="history"):
        history_of({"history": history}, "x.hdf5")
