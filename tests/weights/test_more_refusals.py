"""Refusals of weight files that no others show: HDF5 that is laid out otherwise or damaged, odd pickles."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from bad_weights import refusal
from prune.weights import stored
from prune.weights.errors import BadWeightFile
from prune.weights.formats import write_any
from prune.weights.metadata import parse_meta
from prune.weights.pickles import BadPickle, Named, plain_values
from prune.weights.schema import shown
from prune.weights.store import WeightFile

Make = Callable[[h5py.File], object]


def two(file: h5py.File) -> None:
    file["aa"], file["bb"] = np.ones((4, 4), np.float32), np.ones((4, 4), np.float32)


def packed(file: h5py.File) -> None:
    file.create_dataset("x", data=np.ones((8, 8), np.float32), chunks=(8, 8), compression="gzip")


def long_name(file: h5py.File) -> None:
    for number in range(300):
        file["n" * 5000 if number == 7 else f"layer{number}"] = np.float32(1)


def names_from(content: bytes) -> int:
    """Where the names in a local heap begin: its head says so."""
    return struct.unpack_from("<Q", content, content.index(b"HEAP") + 24)[0]


def whole(content: bytearray) -> None:
    pass


def same_names(content: bytearray) -> None:
    place = content.index(b"bb\0", names_from(content))
    content[place : place + 2] = b"aa"


def no_end_of_names(content: bytearray) -> None:
    entry = content.index(b"SNOD") + 8
    content[entry : entry + 8] = struct.pack("<Q", 2**40)


def broken_gzip(content: bytearray) -> None:
    place = content.index(b"\x78\x5e")  # how zlib begins, at h5py's level
    content[place + 2 : place + 6] = b"\xff" * 4


def user_block(content: bytearray) -> None:
    content[24:32] = struct.pack("<Q", 512)


def cut(content: bytearray) -> None:
    del content[-8:]


def far_away(content: bytearray) -> None:
    layout = b"\x03\x01"  # contiguous; then address, size
    place = content.index(layout + struct.pack("<QQ", content.index(np.ones(16, "<f4").tobytes()), 64))
    content[place + 2 : place + 10] = struct.pack("<Q", 2**40)


def too_large(content: bytearray) -> None:
    address = content.index(np.ones(16, "<f4").tobytes())
    place = content.index(b"\x03\x01" + struct.pack("<QQ", address, 64))
    content[place + 10 : place + 18] = struct.pack("<Q", 2**40)


def four_bytes(content: bytearray) -> None:
    content[13] = 4  # for an address


def more_messages(content: bytearray) -> None:
    root = struct.unpack_from("<Q", content, 64)[0]
    content[root + 2 : root + 4] = struct.pack("<H", 999)


@pytest.mark.parametrize(
    ("make", "tracked", "damage", "message"),
    [
        (two, False, same_names, "two links have one name"),
        (two, False, no_end_of_names, "a name lies outside the local heap"),
        (two, False, user_block, "a user block before the data"),
        (two, False, cut, "bytes were written, "),
        (two, False, far_away, "lies outside the file"),
        (two, False, too_large, f"claims {2**40} bytes, but the file has only"),
        (two, False, four_bytes, "addresses and lengths of 4 and 8 bytes"),
        (two, False, more_messages, "object header has 1 of 999 messages"),
        (lambda file: file.attrs.create("prune", 3), False, whole, "metadata 'prune' of '"),
        (packed, False, broken_gzip, "does not unpack: "),
        (long_name, True, whole, "a huge or a tiny object in a fractal heap"),
    ],
)
def test_hdf5_that_is_damaged_or_laid_out_otherwise(
    tmp_path: Path, make: Make, tracked: bool, damage: Callable[[bytearray], None], message: str
):
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w", track_order=tracked) as file:
        make(file)
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    assert message in refusal(path)


def external(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "f4", external=[("values.bin", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (4,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external, "keeps its values in an external file; copy them into one file"),
        (virtual, "is virtual, its values lie in other files; copy them into one file"),
    ],
)
def test_values_that_lie_in_other_files(tmp_path: Path, make: Make, message: str):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        make(file)
    assert f"'x' in '{tmp_path}/x.hdf5' {message}" in refusal(tmp_path / "x.hdf5")


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, True])
def test_metadata_of_no_format_there_is(version: object):
    with pytest.raises(BadWeightFile, match=r"has format .*; known is 1"):
        parse_meta(json.dumps({"format": version}), None, "x")


def test_inputs_that_are_two_kinds_at_once():
    one = {"list": [], "tuple": []}
    meta = {"format": 1, "inputs": {"args": [one], "kwargs": {}, "batch": 2}}
    with pytest.raises(BadWeightFile, match="has 2 keys; it must have one"):
        parse_meta(json.dumps(meta), None, "x")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02K", "its pickle is broken: "),
        (b"\x80\x02.", "its pickle is broken: "),
        (b"\x80\x02(ios\nsystem\n.", "its pickle uses INST, which plain values do not need"),
    ],
)
def test_programs_that_are_broken_or_do_more(program: bytes, message: str):
    with pytest.raises(BadPickle, match=message):
        plain_values(io.BytesIO(program), lambda *_: None, whole)


def test_functions_that_are_given_too_much(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("prune.weights.pickles.MOST_STEPS", 80)
    program = b"\x80\x02(" + b"K\x01" * 30 + b"lq\x00" + b"0ca\nb\nh\x00\x85R" * 3 + b"."
    with pytest.raises(BadPickle, match="its pickle gives functions more than 80 values"):
        plain_values(io.BytesIO(program), lambda *_: None, whole)


def test_storages_and_files_of_other_kinds(tmp_path: Path):
    words = ("storage", Named("torch.QInt8Storage"), "0", "cpu", 4)
    with pytest.raises(stored.Damaged, match="it has a storage of kind QInt8Storage"):
        stored.storage_of(words)
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"w": 1}))
    assert "holds more than tensors (a bare pickle), or is no PyTorch file" in refusal(tmp_path / "x.pth")


def test_hdf5_that_another_program_has_changed(tmp_path: Path):
    write_any(tmp_path / "x.hdf5", WeightFile({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}))
    content = (tmp_path / "x.hdf5").read_bytes()
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        del file["a"]
    assert "has lost 'a', which was written into it; copy it again" in refusal(tmp_path / "x.hdf5")
    (tmp_path / "x.hdf5").write_bytes(content)
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        file["a new"] = 1.0
    assert "has 'a new', which was not written into it; copy it again" in refusal(tmp_path / "x.hdf5")


def test_an_archive_that_is_packed(tmp_path: Path):
    torch.save({"w": torch.ones(99)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as file:
        entries = {entry.filename: file.read(entry) for entry in file.infolist()}
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    assert "is compressed; unpack the archive and pack it without compression" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("end", ["\n", "\v", "\x1c", "\x85", "\u2028"])
def test_what_a_file_says_is_shown_on_one_line(end: str):
    """Any of these ends a line, and JSON may hold each."""
    assert shown(f"é{end}b") == f"é{repr(end)[1:-1]}b"
