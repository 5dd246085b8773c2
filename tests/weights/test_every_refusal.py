"""The refusals that no other test reaches, each by a file made for it."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from prune.weights import files, metadata, stored
from prune.weights.errors import BadWeightFile, UnreadableFile, UnwritableOutput
from prune.weights.formats import read_any, write_any
from prune.weights.hdf5 import objects, values
from prune.weights.hdf5.source import Cursor, Damaged, NotPlain, Source
from prune.weights.pickles import BadPickle, plain_values
from prune.weights.store import WeightFile
from prune.weights.verify import verify_parents


def refusal(path: Path) -> str:
    with pytest.raises(BadWeightFile) as caught:
        read_any(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def chunked(file: h5py.File) -> None:
    file.create_dataset("x", data=np.ones((8, 8), np.float32), chunks=(4, 4))


def plain(file: h5py.File) -> None:
    file["x"] = np.ones((8, 8), np.float32)


def many(file: h5py.File) -> None:
    for number in range(300):
        file[f"stage1.block{number}.weight"] = np.float32(1)


@pytest.mark.parametrize(
    ("make", "tracked", "before", "after", "message"),
    [
        (chunked, False, b"\x03\x02\x03", b"\x03\x02\x02", "chunks are not of the shape or the type"),
        (chunked, False, b"TREE\x01", b"TREE\x02", "the tree of chunks has other levels than it says"),
        (plain, False, b"\x11\x00\x10\x00", b"\x00\x00\x10\x00", "the root is no group"),
        (plain, False, b"TREE\x00", b"TREE\x01", "the tree of names has other levels than it says"),
        (plain, False, b"\x11\x20\x1f\x00", b"\x91\x20\x1f\x00", "type of version 9, which is not read here"),
    ],
)
def test_hdf5_with_one_place_changed(tmp_path, make, tracked, before, after, message):
    with h5py.File(tmp_path / "x.hdf5", "w", track_order=tracked) as file:
        make(file)
    content = (tmp_path / "x.hdf5").read_bytes()
    assert before in content
    (tmp_path / "x.hdf5").write_bytes(content.replace(before, after))
    assert message in refusal(tmp_path / "x.hdf5")


@pytest.mark.parametrize(
    ("signature", "offset", "value", "message"),
    [
        (b"FRHP", 7, struct.pack("<H", 1), "a compressed fractal heap"),
        (b"FRHP", 110, struct.pack("<H", 0), "fractal heap has no blocks"),
        (b"FRHP", 132, b"\xff" * 8, "fractal heap has no such block"),
        (b"FRHP", 140, struct.pack("<H", 200), "fractal heap has 200 rows"),
        (b"FRHP", 140, struct.pack("<H", 1), "fractal heap has no such row"),
        (b"FRHP", 140, struct.pack("<H", 0), "fractal heap ends early"),
        (b"BTHD", 10, struct.pack("<H", 1), "the tree of links has no room for its records"),
        (b"BTHD", 24, struct.pack("<H", 0), "the tree of links has 0 records, and says otherwise"),
    ],
)
def test_hdf5_with_many_links_and_one_number_changed(tmp_path, signature, offset, value, message):
    with h5py.File(tmp_path / "x.hdf5", "w", track_order=True) as file:
        many(file)
    content = bytearray((tmp_path / "x.hdf5").read_bytes())
    place = -1
    while (place := content.find(signature, place + 1)) >= 0:
        content[place + offset : place + offset + len(value)] = value
    (tmp_path / "x.hdf5").write_bytes(content)
    assert message in refusal(tmp_path / "x.hdf5")


def shared_type(file: h5py.File) -> None:
    file["kind"] = np.dtype("S9")
    file.attrs.create("prune", b"{}", dtype=file["kind"])


def new_chunks(file: h5py.File) -> None:
    chunked(file)


def colours(file: h5py.File) -> None:
    kind = h5py.enum_dtype({"RED": 0, "BLUE": 1}, basetype="i4")
    file.create_dataset("x", data=np.zeros(3, np.int32), dtype=kind)


@pytest.mark.parametrize(
    ("make", "libver", "message"),
    [
        (shared_type, "earliest", "an attribute of a shared type"),
        (new_chunks, "latest", "of kind 2, version"),
        (colours, "earliest", "'x' in"),
        (lambda file: file.attrs.create("prune", ""), "earliest", "is not JSON"),
        (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "latest", "'x' in"),
        (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "earliest", "'x' in"),
    ],
)
def test_hdf5_of_kinds_that_are_not_read(tmp_path, make: Callable[[h5py.File], object], libver, message):
    with h5py.File(tmp_path / "x.hdf5", "w", libver=libver) as file:
        make(file)
    assert message in refusal(tmp_path / "x.hdf5")


def test_values_that_lie_in_their_header_are_read(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_layout(h5py.h5d.COMPACT)
        space, kind = h5py.h5s.create_simple((2, 3)), h5py.h5t.IEEE_F32LE
        h5py.Dataset(h5py.h5d.create(file.id, b"x", kind, space, how))[...] = np.arange(6).reshape(2, 3)
    assert read_any(tmp_path / "x.hdf5").tensors["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_archives_that_are_no_checkpoints(tmp_path, monkeypatch):
    empty = pickle.dumps({}, 2)
    path = tmp_path / "x.pth"
    assert "it has no data.pkl" in refusal(archive(path, {"x/other": b""}))
    assert "a TorchScript program" in refusal(archive(path, {"x/data.pkl": empty, "x/constants.pkl": b""}))
    assert "not little endian" in refusal(archive(path, {"x/data.pkl": empty, "x/byteorder": b"big"}))
    monkeypatch.setattr("prune.weights.torch_file._LARGEST_PICKLE", 3)
    assert f"its pickle has {len(empty)} bytes" in refusal(archive(path, {"x/data.pkl": empty}))


def test_an_archive_whose_storage_is_short(tmp_path):
    torch.save({"w": torch.ones(9)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as file:
        entries = {entry.filename: file.read(entry) for entry in file.infolist()}
    name = next(name for name in entries if name.endswith("data/0"))
    assert "storage '0' claims 36 bytes, and has 8" in refusal(
        archive(tmp_path / "x.pth", entries | {name: b"--------"})
    )
    del entries[name]
    assert "storage '0' claims 36 bytes, and has 0" in refusal(archive(tmp_path / "x.pth", entries))


def legacy(path: Path, *, little: bool = True, view: object = None, twice: bool = False) -> Path:
    """A file as PyTorch before 1.6 wrote it: a tensor of two numbers; or two that differ on their storage."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return thing if isinstance(thing, tuple) and thing[:1] == ("storage",) else None

    class Tensor:
        def __init__(self, count: int) -> None:
            self.count = count

        def __reduce__(self) -> Any:
            storage = ("storage", torch.FloatStorage, "0", "cpu", self.count, view)
            return torch._utils._rebuild_tensor, (storage, 0, (2,), (1,))

    content = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": little}):
        pickle.dump(part, content, 2)
    Pickler(content, 2).dump({"w": Tensor(2), "v": Tensor(3)} if twice else {"w": Tensor(2)})
    pickle.dump(["0"], content, 2)
    path.write_bytes(content.getvalue() + struct.pack("<q2f", 2, 1.0, 2.0))
    return path


def test_old_checkpoints_that_are_odd(tmp_path):
    assert read_any(legacy(tmp_path / "x.pth")).tensors["w"].tolist() == [1.0, 2.0]
    assert "not little endian" in refusal(legacy(tmp_path / "x.pth", little=False))
    assert "views of storages" in refusal(legacy(tmp_path / "x.pth", view=("0", 0, 1)))
    assert "storage '0' is declared twice" in refusal(legacy(tmp_path / "x.pth", twice=True))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"w": torch.ones(3, dtype=torch.complex64)}, "a torch.complex64 tensor"),
        ({"w": torch.ones(3, dtype=torch.uint16)}, None),
        ({"w": torch.ones(3).to_sparse()}, "a tensor of layout"),
    ],
)
def test_tensors_of_other_kinds(tmp_path, state, message):
    torch.save(state, tmp_path / "x.pth")
    if message is None:
        assert read_any(tmp_path / "x.pth").tensors["w"].dtype == np.int64
    else:
        assert message in refusal(tmp_path / "x.pth")


def test_safetensors_of_complex_numbers(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"w": torch.ones(3, dtype=torch.complex64)}, tmp_path / "x.safetensors")
    assert "'w' in" in refusal(tmp_path / "x.safetensors")
    assert "save plain dense floats" in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02K\x01)R.", "its pickle calls what is no function"),
        (b"\x80\x02K\x01K\x020.", None),
        (b"\x80\x02(K\x01K\x021K\x03.", None),
        (b"\x80\x02K\x01K\x02\x85e.", "there is no mark"),
    ],
)
def test_programs_of_pickles(program, message):
    def read() -> Any:
        return plain_values(io.BytesIO(program), lambda *_: None, lambda _: None)

    if message is None:
        assert read() in (1, 3)
    else:
        with pytest.raises(BadPickle, match=message):
            read()


def test_what_is_no_regular_file(tmp_path, monkeypatch):
    with pytest.raises(UnreadableFile, match="'/dev/null' is not a regular file"):
        files.require_file("/dev/null")
    (tmp_path / "x.pth").touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UnreadableFile, match="no permission to read"):
        files.require_file(tmp_path / "x.pth")
    with pytest.raises(UnwritableOutput, match="no permission to write in folder"):
        files.check_output(tmp_path / "y.pth")


def test_a_digest_of_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "x.pth").touch()

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", broken)
    with pytest.raises(UnreadableFile, match=r"cannot read '.*': Input/output error"):
        files.sha256(tmp_path / "x.pth")


def test_metadata_without_end(monkeypatch):
    monkeypatch.setattr(metadata, "_LONGEST_TEXT", 5)
    with pytest.raises(BadWeightFile, match="has 10 characters; no network needs as many"):
        metadata.parse_meta('{"a": "b"}', None, "x")


def test_parents_that_are_damaged_or_of_another_history(tmp_path):
    step = {"command": "train-base", "parent": None}
    write_any(tmp_path / "a.hdf5", WeightFile({"w": np.ones(2)}, {"history": [step]}))
    (tmp_path / "b.pth").write_bytes(b"nonsense")
    torch.save({"w": torch.ones(2)}, tmp_path / "c.pth")
    parents = {name: files.sha256(tmp_path / name) for name in ("a.hdf5", "b.pth", "c.pth")}
    (tmp_path / "d.pth").symlink_to("nowhere")

    def verdict(name: str, before: dict[str, Any]) -> str:
        history = (before, {"command": "prune", "parent": parents[name]})
        return verify_parents(tmp_path / "x.hdf5", history, [tmp_path, tmp_path / "none"])[-1]["verdict"]

    assert verdict("a.hdf5", step) == "as it was written"
    assert verdict("a.hdf5", {"command": "other", "parent": None}) == "the bytes agree, its history does not"
    assert verdict("b.pth", step).startswith("damaged: ")
    found = verify_parents(tmp_path / "x.hdf5", ({"command": "a", "parent": parents["c.pth"]},), [tmp_path])
    assert found[0]["verdict"] == "as it was written"


def test_chunks_that_overlap(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        chunked(file)
    content, place = (tmp_path / "x.hdf5").read_bytes(), struct.pack("<3Q", 0, 4, 0)
    assert place in content
    (tmp_path / "x.hdf5").write_bytes(content.replace(place, bytes(24)))
    assert "chunks overlap" in refusal(tmp_path / "x.hdf5")


def test_structures_that_lead_in_circles_or_end_early(tmp_path):
    (tmp_path / "x").write_bytes(bytes(1000))
    with (tmp_path / "x").open("rb") as file:
        source = Source(file)
        with pytest.raises(Damaged, match="a tree leads in a circle"):
            [source.described(0, 900, "a tree") for _ in range(10_000)]
        with pytest.raises(Damaged, match="object header leads in a circle"):
            objects._continued(source, objects.Message(0x10, 0, bytes(16)), 10**6)
    with (tmp_path / "x").open("rb") as file:
        source = Source(file)
        os.truncate(tmp_path / "x", 10)  # while it is read
        with pytest.raises(Damaged, match="a tree ends early"):
            source.values(0, 900, "a tree")
    with pytest.raises(NotPlain, match="has 40 dimensions; write it again"):
        values._shape(Cursor(bytes([1, 40, 0, 0, 0, 0, 0, 0]), "shape"))


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((-2,), (1,), "of a negative size"),
        ((2, 2), (1,), "a tensor of 2 dimensions and 1 strides"),
        ((1,) * 33, (1,) * 33, "a tensor of 33 dimensions and 33 strides"),
    ],
)
def test_tensors_that_cannot_be(shape, strides, message):
    with pytest.raises(stored.Damaged, match=message):
        stored._tensor(stored.Storage("0", "f4", 4), 0, shape, strides)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_one_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as file:
        for _ in range(2):
            file.writestr("x/data.pkl", pickle.dumps({}))
    assert "its entries overlap" in refusal(tmp_path / "x.pth")


def test_a_pickle_that_gives_one_list_to_many_functions(monkeypatch):
    monkeypatch.setattr("prune.weights.pickles.MOST_STEPS", 50)
    program = b"\x80\x02(" + b"K\x01" * 30 + b"lq\x00" + b"0ca\nb\nh\x00\x85R" * 3 + b"."
    with pytest.raises(BadPickle, match=r"(gives functions|takes) more than 50"):
        plain_values(io.BytesIO(program), lambda *_: None, lambda _: None)


def test_a_name_with_a_line_end_in_it_is_told_on_one_line(tmp_path):
    program = b"\x80\x02cbuiltins\neval\x1dx\n)R."
    assert "holds more than tensors (builtins.eval)" in refusal(
        archive(tmp_path / "x.pth", {"x/data.pkl": program})
    )
