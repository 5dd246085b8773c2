"""The refusals of checkpoints and their pickles that no other test reaches, each by a file made for it."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_weights import refusal
from prune.weights import stored
from prune.weights.formats import read_any
from prune.weights.pickles import BadPickle, plain_values


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
    if torch.complex64 not in safetensors._SIZE:
        pytest.skip("safetensors did not write complex numbers yet")
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
