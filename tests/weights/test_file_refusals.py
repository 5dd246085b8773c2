"""The refusals of files, their metadata and their history that no other test reaches."""

from typing import Any

import numpy as np
import pytest
import torch
from prune.weights import files, metadata
from prune.weights.errors import BadWeightFile, UnreadableFile, UnwritableOutput
from prune.weights.formats import write_any
from prune.weights.store import WeightFile
from prune.weights.verify import verify_parents


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
