"""What was written is compared with what is read: damage is found, and named, in every format."""

import h5py
import numpy as np
import pytest
from prune.weights import store
from prune.weights.errors import BadWeightFile
from prune.weights.formats import read_any, write_any
from prune.weights.store import WeightFile

TENSORS = {
    "a.weight": np.linspace(1, 2, 60, dtype=np.float32).reshape(3, 4, 5),
    "b.bias": np.full(300, 7.25, np.float32),
    "b.number": np.array(5),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("suffix", ["hdf5", "safetensors", "pth"])
def test_a_flipped_bit_in_a_tensor_is_named(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    write_any(path, WeightFile(TENSORS, {"arch": "x"}))
    whole = path.read_bytes()
    place = whole.index(TENSORS["b.bias"].tobytes())
    for offset in (0, 3, 599, 1199):
        damaged = bytearray(whole)
        damaged[place + offset] ^= 0x10
        path.write_bytes(damaged)
        named = "Bad CRC-32 for file" if suffix == "pth" else "'b.bias' in .* is not what was written"
        with pytest.raises(BadWeightFile, match=named):
            read_any(path)
    path.write_bytes(whole)
    assert list(read_any(path).tensors) == list(TENSORS)


@pytest.mark.parametrize("suffix", ["hdf5", "safetensors"])
def test_a_flipped_bit_in_the_metadata_is_noticed(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    write_any(path, WeightFile(TENSORS, {"arch": "resnet20"}))
    damaged = path.read_bytes().replace(b"resnet20", b"resnet21")
    path.write_bytes(damaged)
    with pytest.raises(BadWeightFile, match=r"the metadata of .* is not what was written"):
        read_any(path)


def test_tensors_that_were_lost_added_reshaped_or_swapped_are_noticed(tmp_path):
    def changed(change) -> str:
        write_any(tmp_path / "x.hdf5", WeightFile(TENSORS, {}, np.array([3])), force=True)
        with h5py.File(tmp_path / "x.hdf5", "a") as file:
            change(file)
        with pytest.raises(BadWeightFile) as caught:
            read_any(tmp_path / "x.hdf5")
        return str(caught.value)

    def reshape(file):
        values = file["a.weight"][()].reshape(4, 3, 5)
        del file["a.weight"]
        file["a.weight"] = values

    def drop_metadata(file):
        del file.attrs["prune"]

    def drop_checksum(file):
        del file.attrs["prune.checksum"]

    assert "has lost 'a.weight'" in changed(lambda file: file.pop("a.weight"))
    assert "has lost 'deps'" in changed(lambda file: file.pop("deps"))
    assert "has 'c', which was not" in changed(lambda file: file.create_dataset("c", data=[1.0]))
    assert "'a.weight' in" in changed(reshape)
    assert "has lost its metadata" in changed(drop_metadata)
    assert "a part of its checksums" in changed(drop_checksum)


def test_files_without_checksums_stay_readable(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w", track_order=True) as file:
        file.attrs["prune"] = '{"arch": "x", "format": 1}'
        file["w"] = np.ones(3, np.float32)
    assert read_any(tmp_path / "x.hdf5").meta == {"arch": "x"}


def test_metadata_that_cannot_be_found_is_no_absence_of_it(tmp_path):
    """Damage to the list of attributes does not make a file of ours a stranger's, who has no checksums."""
    path = tmp_path / "x.hdf5"
    write_any(path, WeightFile(TENSORS, {"arch": "x"}))
    content = path.read_bytes()
    for name in (b"prune\0", b"prune.checksum\0"):
        assert name in content
        content = content.replace(name, b"P" + name[1:])
    path.write_bytes(content)
    with pytest.raises(BadWeightFile, match="has lost its metadata, and its checksums with it"):
        read_any(path)


def test_a_mark_across_two_pieces_is_found(tmp_path):
    from prune.weights.hdf5.source import Source

    for place in (0, 2**20 - 3, 2**20, 3 * 2**20 - 5):
        (tmp_path / "x").write_bytes(b"-" * place + b"mark!" + b"-" * 9)
        with (tmp_path / "x").open("rb") as file:
            assert Source(file).holds(b"mark!")
            assert not Source(file).holds(b"mark?")


def test_tensors_in_another_order_are_noticed(tmp_path):
    write_any(tmp_path / "x.hdf5", WeightFile(TENSORS, {}))
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        values = file["a.weight"][()]
        del file["a.weight"]
        file["a.weight"] = values
    with pytest.raises(BadWeightFile, match="order"):
        read_any(tmp_path / "x.hdf5")


def test_what_was_compared_says_so(tmp_path):
    write_any(tmp_path / "x.hdf5", WeightFile(TENSORS, {}))
    assert read_any(tmp_path / "x.hdf5").verified
    with h5py.File(tmp_path / "y.hdf5", "w") as file:
        file["w"] = np.ones(3, np.float32)
    assert not read_any(tmp_path / "y.hdf5").verified


def test_hdf5_is_told_by_its_beginning(tmp_path):
    write_any(tmp_path / "x.hdf5", WeightFile(TENSORS, {}))
    (tmp_path / "y.hdf5").write_text("nonsense")
    found = {name: store.is_hdf5(tmp_path / name) for name in ("x.hdf5", "y.hdf5", "none.hdf5", "")}
    assert found == {"x.hdf5": True, "y.hdf5": False, "none.hdf5": False, "": False}
