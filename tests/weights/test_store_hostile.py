"""Files that lie: each is refused with one line that names the first thing that is wrong."""

import json
import zlib

import h5py
import numpy as np
import pytest
from h5py import h5p
from prune.weights import store
from prune.weights.errors import BadWeightFile, UnreadableFile, WeightsError
from prune.weights.store import WeightFile


def refused(path, message: str) -> None:
    with pytest.raises(BadWeightFile, match=message) as caught:
        store.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def soft_link(file, tmp_path):
    file["w"] = np.zeros(2)
    file["x"] = h5py.SoftLink("/w")


def external_link(file, tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["w"] = np.zeros(2)
    file["x"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/w")


def virtual_dataset(file, tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["w"] = np.zeros(2)
    layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "w", shape=(2,))
    file.create_virtual_dataset("x", layout)


def external_storage(file, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(400))
    file.create_dataset("x", (100,), "f4", external=[(str(tmp_path / "secret"), 0, 400)])


def group(file, tmp_path):
    file["x/weight"] = np.zeros(2)


def named_datatype(file, tmp_path):
    file["x"] = np.dtype("f4")


def variable_text(file, tmp_path):
    file["x"] = ["some", "text"]


def fixed_text(file, tmp_path):
    file["x"] = np.array([b"some", b"text"])


def ragged(file, tmp_path):
    file.create_dataset("x", (3,), h5py.vlen_dtype(np.float32))


def reference(file, tmp_path):
    file.create_dataset("x", (1,), h5py.ref_dtype)


def compound(file, tmp_path):
    file["x"] = np.zeros(2, [("a", "f4"), ("b", "i4")])


def opaque(file, tmp_path):
    file["x"] = np.zeros(2, "V8")


def enumeration(file, tmp_path):
    file.create_dataset("x", (2,), h5py.enum_dtype({"RED": 0, "GREEN": 1}))


def complex_numbers(file, tmp_path):
    file["x"] = np.zeros(2, np.complex64)


def wide_integers(file, tmp_path):
    file["x"] = np.zeros(2, np.uint64)


def too_large_double(file, tmp_path):
    file["x"] = np.array([1e300])


def no_shape(file, tmp_path):
    file["x"] = h5py.Empty("f4")


def huge_and_never_written(file, tmp_path):
    file.create_dataset("x", (10**12,), "f4")


def huge_and_sparse(file, tmp_path):
    file.create_dataset("x", (10**12,), "f4", chunks=(1024,))[:1024] = 1


def huge_compressed_and_sparse(file, tmp_path):
    file.create_dataset("x", (10**12,), "f4", chunks=(1024,), compression="gzip")[:1024] = 1


def overhanging_chunk(file, tmp_path):
    dataset = file.create_dataset("x", (10,), "f4", maxshape=(None,), chunks=(2**20,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(40)))


def compressed_twice(file, tmp_path):
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((2**16,))
    properties.set_deflate(9)
    properties.set_deflate(9)
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((2**16,)), properties)


def compressed_to_less_than_it_declares(file, tmp_path):
    dataset = file.create_dataset("x", (1000,), "f4", chunks=(1000,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(b"four"))


def compressed_to_more_than_it_declares(file, tmp_path):
    dataset = file.create_dataset("x", (10,), "f4", chunks=(10,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(10**6)))


def not_compressed_after_all(file, tmp_path):
    dataset = file.create_dataset("x", (1000,), "f4", chunks=(1000,), compression="gzip")
    dataset.id.write_direct_chunk((0,), b"four", filter_mask=1)


def compressed_by_lzf(file, tmp_path):
    file.create_dataset("x", data=np.zeros(1000), compression="lzf")


def summed(file, tmp_path):
    file.create_dataset("x", data=np.zeros(1000), fletcher32=True)


def far_too_wide_in_memory(file, tmp_path):
    file.create_dataset("x", (2**26,), "i1", compression="gzip")[:] = 0


def odd_filter(file, tmp_path):
    file.create_dataset("x", (64,), "i4", chunks=(64,), scaleoffset=0)


def many_names_for_one_dataset(file, tmp_path):
    file["x"] = np.zeros(1000, np.float32)
    for number in range(100):
        file[f"x{number}"] = file["x"]


def name_of_two_lines(file, tmp_path):
    file["x\ny"] = h5py.SoftLink("/w")


def deps_of_floats(file, tmp_path):
    file["deps"] = np.array([1.5])


def deps_of_two_dimensions(file, tmp_path):
    file["deps"] = np.array([[1]])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (soft_link, "'x' in .* is a soft link"),
        (external_link, "'x' in .* is a link to another file"),
        (virtual_dataset, "'x' in .* is virtual"),
        (external_storage, "'x' in .* external file"),
        (group, "'x' in .* is a group"),
        (named_datatype, "'x' in .* is a group or a type"),
        (variable_text, "'x' in .* holds text"),
        (fixed_text, "'x' in .* holds text"),
        (ragged, "'x' in .* variable length"),
        (reference, "'x' in .* holds references"),
        (compound, "'x' in .* holds compound values"),
        (opaque, "'x' in .* holds opaque values"),
        (enumeration, "'x' in .* holds an enumeration"),
        (complex_numbers, "'x' in .* holds"),
        (wide_integers, "'x' in .* is uint64"),
        (too_large_double, "'x' in .* beyond float32"),
        (no_shape, "'x' in .* no shape"),
        (huge_and_never_written, "'x' in .* declares shape \\(1000000000000,\\).* not all there"),
        (huge_and_sparse, "'x' in .* declares shape .* not all there"),
        (huge_compressed_and_sparse, "'x' in .* declares shape .* not all there"),
        (overhanging_chunk, "a chunk of 'x' has 40 bytes of 4194304"),
        (compressed_twice, "'x' in .* filters \\[1, 1\\]"),
        (compressed_to_less_than_it_declares, "a chunk of 'x' has 4 bytes of 4000"),
        (compressed_to_more_than_it_declares, "a chunk of 'x' has 41 bytes of 40"),
        (not_compressed_after_all, "'x' in .* left uncompressed"),
        (compressed_by_lzf, r"'x' in .* filters \[32000\]; allowed is gzip"),
        (summed, r"'x' in .* filters \[3\]; allowed is gzip"),
        (far_too_wide_in_memory, "'x' in .* would take 536870912 bytes of memory"),
        (odd_filter, "'x' in .* filters \\[6\\]"),
        (many_names_for_one_dataset, "'x\\d+' in .* claims 4000 bytes"),
        (name_of_two_lines, r"'x\\ny' in .* is a soft link"),
        (deps_of_floats, "'deps' in .* is float32"),
        (deps_of_two_dimensions, "'deps' in .* shape \\(1, 1\\)"),
    ],
)
def test_hostile_dataset_is_refused(tmp_path, build, message):
    with h5py.File(tmp_path / "bad.hdf5", "w") as file:
        build(file, tmp_path)
    refused(tmp_path / "bad.hdf5", message)


def test_honest_storage_of_other_kinds_is_read(tmp_path):
    zeros = np.zeros((512, 512, 3, 3), np.float32)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("gzip", data=zeros, compression="gzip", compression_opts=9, shuffle=True)
        file.create_dataset("chunks", data=np.arange(77).reshape(7, 11), chunks=(3, 4), compression="gzip")
        file["bools"] = np.array([True, False])
        file.create_dataset("growable", data=np.arange(3.0), maxshape=(None,), chunks=(1000,))
    tensors = store.read(tmp_path / "x.hdf5").tensors
    assert list(tensors) == ["bools", "chunks", "growable", "gzip"]
    np.testing.assert_array_equal(tensors["gzip"], zeros)
    np.testing.assert_array_equal(tensors["chunks"], np.arange(77).reshape(7, 11))
    np.testing.assert_array_equal(tensors["bools"], [1, 0])
    np.testing.assert_array_equal(tensors["growable"], [0, 1, 2])


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("{broken", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[1]", "JSON list, not an object"),
        ("{}", "format None"),
        ('{"format": "1"}', "format '1'"),
        ('{"format": true}', "format True"),
        ('{"format": 0}', "format 0"),
        ('{"format": 2}', "format 2, written by a newer prune"),
        (3.5, "not one string"),
        (["{}", "{}"], "not one string"),
        (h5py.Empty("S1"), "not one string"),
    ],
)
def test_bad_metadata_is_refused(tmp_path, attribute, message):
    with h5py.File(tmp_path / "bad.hdf5", "w") as file:
        file.attrs["prune"] = attribute
    refused(tmp_path / "bad.hdf5", message)


def test_metadata_as_fixed_text_is_read(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.attrs["prune"] = np.bytes_(json.dumps({"format": 1, "arch": "é"}).encode())
    assert store.read(tmp_path / "x.hdf5").meta == {"arch": "é"}


def small_file(path) -> bytes:
    random = np.random.RandomState(0)
    tensors = {f"layer{i}.weight": random.randn(4, 3, 2, 2).astype(np.float32) for i in range(12)}
    store.write(path, WeightFile(tensors, {"arch": "small"}, np.arange(12)))
    return path.read_bytes()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = small_file(tmp_path / "whole.hdf5")
    bad = tmp_path / "bad.hdf5"
    for length in [0, 1, 7, 8, 47, 48, 95, *range(96, len(content), 499), len(content) - 1]:
        bad.write_bytes(content[:length])
        refused(bad, "not an HDF5 file|damaged or truncated|claims")


def test_flipped_bytes_never_end_in_another_error(tmp_path):
    content = small_file(tmp_path / "whole.hdf5")
    random = np.random.RandomState(2)
    refusals = 0
    for _ in range(200):
        broken = bytearray(content)
        for place in random.randint(0, len(content), 4):
            broken[place] = random.randint(256)
        (tmp_path / "bad.hdf5").write_bytes(broken)
        try:
            store.read(tmp_path / "bad.hdf5")
        except WeightsError:
            refusals += 1
    assert refusals > 20  # the others hit a weight or a gap


def test_random_bytes_are_no_hdf5(tmp_path):
    (tmp_path / "bad.hdf5").write_bytes(np.random.RandomState(3).bytes(5000))
    refused(tmp_path / "bad.hdf5", r"not an HDF5 file \(5000 bytes\)")


def test_what_is_not_a_file_is_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"no file '.*missing.hdf5'"):
        store.read(tmp_path / "missing.hdf5")
    with pytest.raises(UnreadableFile, match="is a folder"):
        store.read(tmp_path)
