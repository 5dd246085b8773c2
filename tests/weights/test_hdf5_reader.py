"""HDF5 read by hand: what h5py has written comes out as by h5py itself, and nothing goes on for ever."""

import time

import h5py
import numpy as np
import pytest
from prune.weights import store
from prune.weights.errors import BadWeightFile, WeightsError
from prune.weights.store import WeightFile

KINDS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", ">f4", ">i8", "?"]


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "v112", "v114", "latest"])
@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("count", [0, 1, 8, 9, 300])
def test_it_reads_what_h5py_writes(tmp_path, libver, tracked, count):
    random = np.random.RandomState(count)
    with h5py.File(tmp_path / "x.hdf5", "w", libver=libver, track_order=tracked) as file:
        file.attrs["prune"] = '{"format": 1, "arch": "é"}'
        for number in random.permutation(count):
            shape = tuple(random.randint(0, 4, random.randint(0, 5)))
            values = np.array(random.rand(*shape) * 9, KINDS[number % len(KINDS)])
            file[f"t{number}" * random.randint(1, 9)] = values
    back = store.read(tmp_path / "x.hdf5")
    assert back.meta == {"arch": "é"}
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert list(back.tensors) == list(file)
        for name, array in back.tensors.items():
            np.testing.assert_array_equal(array, file[name][()].astype(array.dtype))
            assert array.shape == file[name].shape


@pytest.mark.parametrize("tracked", [False, True])
def test_thousands_of_tensors_are_found(tmp_path, tracked):
    names = [f"stage{number % 7}.block{number}.weight" for number in range(2000)]  # two levels of nodes
    with h5py.File(tmp_path / "x.hdf5", "w", track_order=tracked) as file:
        for name in names:
            file.create_dataset(name, data=np.float32(1))
    assert list(store.read(tmp_path / "x.hdf5").tensors) == (names if tracked else sorted(names))


def test_metadata_that_lies_elsewhere_is_not_passed_over(tmp_path):
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}, {"arch": "x"}))
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        for number in range(3):
            file.attrs[f"note {number}"] = "mine"
    assert store.read(tmp_path / "x.hdf5").meta == {"arch": "x"}
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        for number in range(20):
            file.attrs[f"note {number}"] = "mine"
    with pytest.raises(BadWeightFile, match="more attributes than fit into its header"):
        store.read(tmp_path / "x.hdf5")


def test_a_flipped_bit_anywhere_ends_at_once(tmp_path):
    """In the heap of the metadata such a bit made HDF5's own code go on for ever."""
    tensors = {f"layer{number}.weight": np.ones((2, 3), np.float32) for number in range(12)}
    store.write(tmp_path / "whole.hdf5", WeightFile(tensors, {"arch": "small"}))
    content = (tmp_path / "whole.hdf5").read_bytes()
    heap, began, refused = content.index(b"GCOL"), time.monotonic(), 0
    places = [*range(8 * heap, 8 * (heap + 32)), *range(0, 8 * len(content), 97)]
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        (tmp_path / "x.hdf5").write_bytes(flipped)
        try:
            back = store.read(tmp_path / "x.hdf5")
        except WeightsError:
            refused += 1
        else:  # the bit was of no meaning
            assert list(back.tensors) == list(tensors)
            assert back.meta == {"arch": "small"}
            assert all(np.array_equal(back.tensors[name], array) for name, array in tensors.items())
    assert refused > 100
    assert time.monotonic() - began < 0.01 * len(places)
