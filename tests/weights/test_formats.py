"""Other formats: read without unpickling, written so that others can read them."""

import pickle
import sys

import numpy as np
import pytest
import torch
from prune.weights import formats, store
from prune.weights.errors import BadWeightFile, MissingPackage, UnknownFormat, UnreadableFile
from prune.weights.formats import WeightFile, check_any, read_any, write_any

TENSORS = {
    "z.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "z.bn.num_batches_tracked": np.array(7),
    "a.bias": np.array([-1.5, 2.0], np.float32),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


@pytest.mark.parametrize("suffix", [".hdf5", ".h5", ".pth", ".pt", ".th", ".pth.tar", ".safetensors", ".PTH"])
def test_tensors_come_back_in_order(tmp_path, suffix):
    write_any(tmp_path / f"x{suffix}", WeightFile(TENSORS, {"arch": "x"}, np.array([2])))
    back = read_any(tmp_path / f"x{suffix}")
    assert list(back.tensors) == list(TENSORS)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(back.tensors[name], array)
        assert (back.tensors[name].dtype, back.tensors[name].shape) == (array.dtype, array.shape)
    assert back.meta == ({"arch": "x"} if suffix in (".hdf5", ".h5", ".safetensors") else {})


def test_others_can_read_what_is_written(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    write_any(tmp_path / "x.pth", WeightFile(TENSORS))
    write_any(tmp_path / "x.safetensors", WeightFile(TENSORS))
    for state in (
        torch.load(tmp_path / "x.pth", weights_only=True),
        safetensors.load_file(tmp_path / "x.safetensors"),
    ):
        assert set(state) == set(TENSORS)
        assert all(torch.equal(state[name], torch.from_numpy(array)) for name, array in TENSORS.items())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_state_dict_is_found(tmp_path, wrapper, prefix):
    state = {prefix + name: torch.from_numpy(array) for name, array in TENSORS.items()}
    content = (
        {"epoch": 3, wrapper: {**state, "_note": "no tensor"}} if wrapper else {**state, "_note": "no tensor"}
    )
    torch.save(content, tmp_path / "x.pth")
    assert list(read_any(tmp_path / "x.pth").tensors) == list(TENSORS)


def test_a_prefix_that_not_all_names_have_stays(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "x.pth")
    assert list(read_any(tmp_path / "x.pth").tensors) == ["module.a", "b"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_every_float_becomes_float32(tmp_path, dtype, suffix):
    state = {"w": torch.tensor([0.5, -3.0]).to(dtype)}
    if suffix == "pth":
        torch.save(state, tmp_path / "x.pth")
    else:
        pytest.importorskip("safetensors.torch").save_file(state, tmp_path / "x.safetensors")
    array = read_any(tmp_path / f"x.{suffix}").tensors["w"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [0.5, -3.0])


def test_parameters_and_views_are_read(tmp_path):
    state = {"w": torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t()), "v": torch.arange(9)[::3]}
    torch.save(state, tmp_path / "x.pth")
    tensors = read_any(tmp_path / "x.pth").tensors
    np.testing.assert_array_equal(tensors["w"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(tensors["v"], [0, 3, 6])


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_never_run(tmp_path, zipped):
    torch.save(
        {"state_dict": Bomb(tmp_path / "boom")}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(BadWeightFile, match=r"not be unpickled.*torch\.save\(model\.state_dict\(\)"):
        read_any(tmp_path / "x.pth")
    assert not (tmp_path / "boom").exists()


def test_the_bomb_works(tmp_path):
    """Else the test above would say nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom"))).close()
    assert (tmp_path / "boom").exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(BadWeightFile, match="not be unpickled"):
        read_any(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "no state dict"),
        (torch.zeros(3), "no state dict"),
        ([torch.zeros(3)], "no state dict"),
        ({"w": torch.zeros(1).expand(10**9)}, r"'w' in .* declares shape \(1000000000,\)"),
        pytest.param(
            {"w": torch.zeros(2, 2).to_sparse()},
            "'w' in .* layout torch.sparse_coo",
            marks=pytest.mark.filterwarnings("ignore:Validating sparse tensor"),
        ),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "'w' in .* is a torch.complex64"),
    ],
)
def test_what_is_no_state_dict_of_numbers_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(BadWeightFile, match=message):
        read_any(tmp_path / "x.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files_are_refused(tmp_path, suffix):
    pytest.importorskip("safetensors")
    path = tmp_path / f"x.{suffix}"
    write_any(path, WeightFile({"w": np.ones(1000)}))
    content = path.read_bytes()
    for damaged in (
        b"",
        b"x",
        content[:7],
        content[:100],
        content[:-50],
        np.random.RandomState(0).bytes(3000),
    ):
        path.write_bytes(damaged)
        with pytest.raises(BadWeightFile) as caught:
            read_any(path)
        assert "\n" not in str(caught.value)


def test_safetensors_of_others_and_newer_ones(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    plain = {"b": np.ones(2, np.float32), "a": np.zeros((), np.int64)}
    safetensors.save_file(plain, tmp_path / "plain.safetensors")
    assert set(read_any(tmp_path / "plain.safetensors").tensors) == set(plain)
    for order in ("{broken", "3", '["w", "w"]', '["other"]'):
        notes = {"prune.order": order}
        safetensors.save_file({"w": np.zeros(1, np.float32)}, tmp_path / "x.safetensors", notes)
        assert list(read_any(tmp_path / "x.safetensors").tensors) == ["w"]
    safetensors.save_file(plain, tmp_path / "new.safetensors", {"prune": '{"format": 2}'})
    with pytest.raises(BadWeightFile, match="newer prune"):
        read_any(tmp_path / "new.safetensors")


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.safetensors").touch()
    monkeypatch.setitem(sys.modules, "safetensors", None)  # what Python itself does to forbid an import
    for call in (
        lambda: read_any(tmp_path / "x.safetensors"),
        lambda: write_any(tmp_path / "y.safetensors", WeightFile(TENSORS)),
        lambda: check_any(tmp_path / "y.safetensors"),
    ):
        with pytest.raises(MissingPackage, match=r"pip install 'prune-cnn\[safetensors\]'"):
            call()


@pytest.mark.parametrize("name", ["x.npz", "x", "x.onnx"])
def test_an_unknown_suffix_lists_the_known(tmp_path, name):
    for call in (read_any, check_any, lambda path: write_any(path, WeightFile(TENSORS))):
        with pytest.raises(UnknownFormat, match=r"known are .hdf5 .h5 .pth"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["hdf5", "pth", "safetensors"])
def test_a_missing_file_is_named(tmp_path, suffix):
    with pytest.raises(UnreadableFile, match=f"no file '.*x.{suffix}'"):
        read_any(tmp_path / f"x.{suffix}")


def test_hdf5_of_this_module_is_the_store(tmp_path):
    assert formats.format_of("a/b.hdf5") == "hdf5"
    write_any(tmp_path / "x.hdf5", WeightFile(TENSORS, {}, np.array([3])))
    np.testing.assert_array_equal(store.read(tmp_path / "x.hdf5").deps, [3])
