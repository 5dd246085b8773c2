"""Checkpoints that lie: read without unpickling, none of them grows beyond its own size or runs anything."""

import pickle
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from prune.weights.errors import BadWeightFile
from prune.weights.formats import read_any


def refused(path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadWeightFile, match=message) as caught:
            read_any(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def legacy(path, keys, data: bytes = b"") -> None:
    """A file of PyTorch before 1.6 with one tensor of 1000 floats, and these storages behind it."""
    state = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    state += (
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuM\xe8\x03NtQ"
    )
    state += b"K\x00M\xe8\x03\x85K\x01\x85\x89}tRs."
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(head + state + pickle.dumps(keys, 2) + data)


def test_a_legacy_file_is_read(tmp_path):
    legacy(tmp_path / "x.pth", ["0"], struct.pack("<q", 1000) + np.arange(1000, dtype="<f4").tobytes())
    np.testing.assert_array_equal(read_any(tmp_path / "x.pth").tensors["w"], np.arange(1000))


@pytest.mark.parametrize(
    ("keys", "data", "message"),
    [
        ([], b"", "storage '0' is not there"),
        (["0"], b"", "not all there"),
        (["0"], struct.pack("<q", 1000), "not all there"),
        (["0"], struct.pack("<q", -1), "not all there"),
        (["0"], struct.pack("<q", 3) + bytes(12), "not all there"),
        (["0", "0"], (struct.pack("<q", 1000) + bytes(4000)) * 2, "not all there"),
        (["1"], struct.pack("<q", 1000) + bytes(4000), "storage '1' is of no tensor"),
    ],
)
def test_storages_of_a_legacy_file_are_all_there(tmp_path, keys, data, message):
    legacy(tmp_path / "x.pth", keys, data)
    refused(tmp_path / "x.pth", message)


@pytest.mark.parametrize("keys", [3, "0", None, {"0": 1}, [["0"]]])
def test_keys_of_a_legacy_file_are_a_list_of_texts(tmp_path, keys):
    legacy(tmp_path / "x.pth", keys, struct.pack("<q", 1000) + bytes(4000))
    refused(tmp_path / "x.pth", "no list of storages|is of no tensor")


@pytest.mark.parametrize(
    ("shape", "strides", "there"),
    [((0, 2**61), (1, 1), False), ((2**20, 2**20, 0), (0, 1, 1), False), ((1, 3), (2**61, 1), True)],
)
def test_odd_shapes_and_strides_of_few_numbers(tmp_path, shape, strides, there):
    sizes = [pickle.dumps(numbers, 2)[2:-1].rpartition(b"q")[0] for numbers in (shape, strides)]
    program = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    program += b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    program += b"M\xe8\x03tQK\x00" + sizes[0] + sizes[1] + b"\x89}tRs."
    archive(tmp_path / "x.pth", program, {"0": bytes(4000)})
    if there:
        assert read_any(tmp_path / "x.pth").tensors["w"].shape == shape
    else:
        refused(tmp_path / "x.pth", "declares shape")


def archive(path, pickled: bytes, storages: dict[str, bytes], compression=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/data.pkl", pickled)
        for key, data in storages.items():
            file.writestr(f"x/data/{key}", data)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole:
        pickled = whole.read("whole/data.pkl")
    archive(tmp_path / "x.pth", pickled, {"0": bytes(10**8)}, zipfile.ZIP_DEFLATED)
    refused(tmp_path / "x.pth", "is compressed")


def test_many_views_of_one_storage_do_not_multiply(tmp_path):
    whole = torch.zeros(50_000)
    torch.save({f"w{number}": whole[:] for number in range(600)}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", r"'w\d+' in .* would take 200000 bytes of memory")


def test_narrow_numbers_do_not_grow_without_bounds(tmp_path):
    torch.save({"w": torch.zeros(2_000_000, dtype=torch.int8)}, tmp_path / "x.pth")
    assert read_any(tmp_path / "x.pth").tensors["w"].nbytes == 16_000_000


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("content", [bytearray(10), {"w": bytearray(10)}, np.float64(1.0).dtype.type])
def test_other_constructors_are_not_called(tmp_path, content, protocol):
    archive(tmp_path / "x.pth", pickle.dumps({"a": content}, protocol), {})
    refused(tmp_path / "x.pth", "holds more than tensors|no state dict")


def test_a_bytearray_of_two_gigabytes_is_not_made(tmp_path):
    archive(tmp_path / "x.pth", b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", {})
    refused(tmp_path / "x.pth", r"holds more than tensors \(builtins.bytearray\)")


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02t.",
        b"\x80\x02]N.",
        b"\x80\x02.",
        b"\x80\x02R.",
        b"\x80\x02NQ.",
        b"\x80\x02h\x05.",
        b"\x80\x02}u.",
    ],
)
def test_broken_pickles_are_told(tmp_path, program):
    archive(tmp_path / "x.pth", program, {})
    refused(tmp_path / "x.pth", "cannot be read as a PyTorch checkpoint|no state dict")


def test_an_endless_pickle_ends(tmp_path):
    archive(tmp_path / "x.pth", b"\x80\x02" + b"}" * 3_000_000 + b".", {})
    refused(tmp_path / "x.pth", "more than 500000 steps")


def test_a_flipped_bit_in_the_numbers_is_noticed(tmp_path):
    torch.save({"w": torch.ones(1000)}, tmp_path / "x.pth")
    content = bytearray((tmp_path / "x.pth").read_bytes())
    content[content.index(np.ones(100, "<f4").tobytes()) + 50] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    refused(tmp_path / "x.pth", "Bad CRC-32")


def test_reading_a_checkpoint_needs_no_torch(tmp_path):
    import subprocess
    import sys

    torch.save({"w": torch.ones(3)}, tmp_path / "x.pth")
    program = (
        "import sys; from prune.weights import stats; "
        f"stats.describe({str(tmp_path / 'x.pth')!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("digits", [20, 5000])
def test_numbers_without_end_are_no_sizes(tmp_path, digits):
    size = pickle.dumps(10**digits, 2)[2:-1]
    program = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    program += b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    program += size + b"tQK\x00M\xe8\x03\x85K\x01\x85\x89}tRs."
    archive(tmp_path / "x.pth", program, {"0": bytes(4000)})
    refused(tmp_path / "x.pth", "cannot be read as a PyTorch checkpoint")


def test_a_thousand_tensors_are_read_in_no_time(tmp_path):
    torch.save({f"w{number}": torch.zeros(2) for number in range(3000)}, tmp_path / "x.pth")
    began = time.monotonic()
    assert len(read_any(tmp_path / "x.pth").tensors) == 3000
    assert time.monotonic() - began < 4


def nested(kind: type) -> object:
    """One value in itself so often that nobody could go through it: 2 to the power of 60 of them."""
    value: object = kind()
    for _ in range(60):
        value = kind((value, value))
    return value


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({nested(tuple).__class__: 1}, 2),
        b"\x80\x02" + pickle.dumps(nested(list), 2)[2:-1] + b"X\x01\x00\x00\x00a\x93.",
        b"\x80\x02}" + pickle.dumps(nested(tuple), 2)[2:-1] + b"Ns.",
        b"\x80\x02X\x07\x00\x00\x00storage" + pickle.dumps(nested(list), 2)[2:-1] + b"\x87Q.",
        b"\x80\x02]q\x00("
        + b"K\x01" * 9999
        + b"e0"
        + b"ccollections\nOrderedDict\nh\x00\x85R0" * 40_000
        + b"].",
    ],
)
def test_no_program_takes_for_ever(tmp_path, content):
    archive(tmp_path / "x.pth", content, {})
    began = time.monotonic()
    refused(tmp_path / "x.pth", "cannot be read|no state dict|holds more")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("offset", [2**63, 2**40])
def test_an_entry_that_lies_outside_of_its_archive(tmp_path, offset):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}))
        archive.infolist()[0].header_offset = offset
    with pytest.raises(BadWeightFile, match=r"'x/data\.pkl' lies outside of it"):
        read_any(tmp_path / "x.pth")
