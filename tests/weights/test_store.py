"""The weight file: what is written comes back, in our hands and in ResRep's."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from prune.weights import store
from prune.weights.errors import BadWeightFile
from prune.weights.metadata import render_meta
from prune.weights.store import WeightFile

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "authors"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")


@pytest.fixture
def example() -> WeightFile:
    random = np.random.RandomState(0)
    return WeightFile(
        {
            "z.conv.weight": random.randn(4, 3, 3, 3).astype(np.float32),
            "z.bn.num_batches_tracked": np.array(7),
            "a/b.weight": random.randn(5).astype(np.float32),
            "empty": np.zeros((0, 3), np.float32),
        },
        {"arch": "resnet56", "classes": ["Käse", "two\nlines", "half \udcff"], "accuracy": {"top1": 93.68}},
        np.array([4, 5]),
    )


def test_everything_comes_back_in_order(tmp_path, example):
    store.write(tmp_path / "x.hdf5", example)
    back = store.read(tmp_path / "x.hdf5")
    assert list(back.tensors) == list(example.tensors)
    for name, array in example.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], array)
        assert back.tensors[name].dtype == array.dtype
        assert back.tensors[name].shape == array.shape
    assert back.meta == example.meta
    np.testing.assert_array_equal(back.deps, [4, 5])


def test_order_survives_hundreds_of_tensors(tmp_path):
    names = [f"t{number}" for number in np.random.RandomState(1).permutation(700)]
    store.write(tmp_path / "x.hdf5", WeightFile({name: np.zeros(1, np.float32) for name in names}))
    assert list(store.read(tmp_path / "x.hdf5").tensors) == names


def test_nothing_at_all_comes_back(tmp_path):
    store.write(tmp_path / "x.hdf5", WeightFile({}))
    assert store.read(tmp_path / "x.hdf5") == WeightFile({}, {}, None)


def test_metadata_may_be_longer_than_an_hdf5_attribute(tmp_path):
    meta = {"class_names": [f"class number {i}" for i in range(20_000)]}
    assert len(render_meta(meta, {})[0]) > 300_000
    store.write(tmp_path / "x.hdf5", WeightFile({}, meta))
    assert store.read(tmp_path / "x.hdf5").meta == meta


def test_dtypes_become_float32_and_int64_and_layout_does_not_matter(tmp_path):
    tensors = {
        "double": np.array([1 / 3, -2.5]),
        "half": np.array(0.5, np.float16),
        "bool": np.array([True, False]),
        "byte": np.array([[1, 2]], np.uint8),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "big endian": np.array([1.5], ">f4"),
    }
    store.write(tmp_path / "x.hdf5", WeightFile(tensors))
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert {name: str(file[name].dtype) for name in file} == {
            "double": "float32",
            "half": "float32",
            "bool": "int64",
            "byte": "int64",
            "transposed": "float32",
            "big endian": "float32",
        }
        assert all(file[name].chunks is None and file[name].compression is None for name in file)
    back = store.read(tmp_path / "x.hdf5").tensors
    for name, array in tensors.items():
        np.testing.assert_array_equal(back[name], array.astype(back[name].dtype))


def test_resreps_own_reader_reads_ours(tmp_path, example):
    store.write(tmp_path / "x.hdf5", example)
    with h5py.File(tmp_path / "x.hdf5", "r") as f:
        theirs = {k.replace("+", "/"): np.array(v) for k, v in f.items()}
    np.testing.assert_array_equal(theirs.pop("deps"), [4, 5])
    assert set(theirs) == set(example.tensors)
    for name, array in example.tensors.items():
        np.testing.assert_array_equal(theirs[name], array)


def test_the_same_content_gives_the_same_bytes(tmp_path, example):
    store.write(tmp_path / "a.hdf5", example)
    store.write(tmp_path / "b.hdf5", example)
    assert store.sha256(tmp_path / "a.hdf5") == store.sha256(tmp_path / "b.hdf5")


@pytest.mark.parametrize(
    ("weight_file", "message"),
    [
        (WeightFile({"a+b": np.zeros(1)}), "'a\\+b' holds '\\+'"),
        (WeightFile({".": np.zeros(1)}), "'.' cannot be stored"),
        (WeightFile({"deps": np.zeros(1)}, {}, np.array([1])), "called 'deps'"),
        (WeightFile({}, {}, np.array([1.5])), "'deps' is float32"),
        (WeightFile({"w": np.array([1e300])}), "tensor 'w' has values beyond float32"),
        (WeightFile({"w": np.array([1j])}), "tensor 'w' is complex128"),
        (WeightFile({"w": np.array([2**63], np.uint64)}), "tensor 'w' is uint64"),
        (WeightFile({}, {"accuracy": float("nan")}), "metadata cannot be written as JSON"),
        (WeightFile({}, {"path": Path()}), "metadata cannot be written as JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path, weight_file, message):
    with pytest.raises(BadWeightFile, match=message):
        store.write(tmp_path / "x.hdf5", weight_file)
    assert list(tmp_path.iterdir()) == []


@needs_golden
@pytest.mark.parametrize("case", ["src20_narrow", "src56", "sres50_narrow", "vc_narrow"])
def test_resreps_files_load(case):
    for kind in ("train", "converted"):
        path = GOLDEN / f"resrep_{case}_{kind}.hdf5"
        weight_file = store.read(path)
        assert weight_file.meta == {}
        with h5py.File(path) as file:
            assert set(weight_file.tensors) == set(file) - {"deps"}
            assert ("deps" in file) == (weight_file.deps is not None) == (kind == "converted")
            for name, array in weight_file.tensors.items():
                assert array.dtype == (np.int64 if file[name].dtype.kind == "i" else np.float32)
                np.testing.assert_array_equal(array, file[name][()].astype(array.dtype))
            if weight_file.deps is not None:
                np.testing.assert_array_equal(weight_file.deps, file["deps"][()])


@needs_golden
def test_the_golden_files_do_hold_double_biases():
    """Else the test above would say nothing about casting them."""
    with h5py.File(GOLDEN / "resrep_src56_converted.hdf5") as file:
        assert file["stage1.block0.conv1.conv.bias"].dtype == np.float64


def test_reading_and_describing_need_no_torch(tmp_path, example):
    store.write(tmp_path / "x.hdf5", example)
    program = (
        "import sys; from prune.weights import formats, names, stats, store; "
        f"stats.describe({str(tmp_path / 'x.hdf5')!r}); "
        "print({'torch', 'safetensors', 'prune.engine', 'prune.archs'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
