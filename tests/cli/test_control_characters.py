"""Control characters in names and metadata: refused, or written as text, and never sent to a terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from prune.weights import store
from prune.weights.store import WeightFile

ESCAPES = "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202eder\u2066"


def stored_with(path: Path, text: str) -> Path:
    """A weight file of another writer, whose metadata is this JSON."""
    with h5py.File(path, "w") as file:
        file.attrs.create("prune", text, dtype=h5py.string_dtype("utf-8"))
        file["w"] = np.ones(3)
    return path


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"format": 1, "class_names": ["cat", "\\u001b[2Jdog"]}', r"class_names[1] is '\x1b[2Jdog'"),
        ('{"format": 1, "history": [{"command": "a\\u0007"}]}', r"history[0].command is 'a\x07'"),
        ('{"format": 1, "x": {"y\\u009b31m": 1}}', r"a key of x is 'y\x9b31m'"),
        ('{"format": 1, "no\x7fte": "\x85"}', r"note"),
        ('{"format": 1, "x": ' + "[" * 500 + '"\\b"' + "]" * 500 + "}", r"is '\x08'"),
    ],
)
def test_control_characters_in_metadata_are_refused(prune, tmp_path, text, named):
    code, out, err = prune("inspect", stored_with(tmp_path / "x.hdf5", text))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "it must be a text without control characters" in err
    assert named in err.replace(r"\x7f", "")


def test_names_in_any_script_and_lines_are_no_control_characters(prune, tmp_path):
    names = ["\u05d0\u200f\u05d1", "a\tb", "two\nlines", "\u202eder"]
    text = json.dumps({"format": 1, "class_names": names})
    code, out, _ = prune("inspect", stored_with(tmp_path / "x.hdf5", text), "--json")
    assert code == 0
    assert json.loads(out)["meta"]["class_names"] == names


def test_what_prune_writes_has_no_control_characters(prune, tmp_path):
    """A folder of a class, or a path in the history, may be called anything; the file is read."""
    meta = {"class_names": ("\x1b[2Jcat",), "history": [{"command": "a\x07", "k\x9b": {"deep": ["\x7f"]}}]}
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}, meta))
    written = store.read(tmp_path / "x.hdf5").meta
    assert written["class_names"] == [r"\x1b[2Jcat"]
    assert written["history"] == [{"command": r"a\x07", r"k\x9b": {"deep": [r"\x7f"]}}]


def hostile_names(path: Path) -> Path:
    network = {
        "arch": f"arch{ESCAPES}",
        "class_names": [f"cat{ESCAPES}"],
        f"note{ESCAPES}": ESCAPES,
        "history": [{"command": ESCAPES, f"key{ESCAPES}": ESCAPES}],
    }
    store.write(path, WeightFile({f"w{ESCAPES}": np.ones(3)}, network))
    return path


@pytest.mark.parametrize("words", ["inspect", "inspect --json", "inspect --verify", "flops", "convert"])
def test_no_control_character_reaches_the_terminal(prune, tmp_path, words):
    file = hostile_names(tmp_path / f"x{ESCAPES}.hdf5")
    _, out, err = prune(*words.split(), file)
    for text in (out, err):
        assert not set(text) & set(ESCAPES) - set("]0;OWNED[2J31mder")
    assert "\\x1b" in out + err or "\\u001b" in out + err


def test_no_control_character_reaches_a_real_terminal(tmp_path):
    pty = pytest.importorskip("pty")
    file = hostile_names(tmp_path / "x.hdf5")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "prune", "inspect", str(file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env=environment, cwd=tmp_path)
    os.close(follower)
    said = b""
    try:
        while part := os.read(leader, 65536):
            said += part
    except OSError:  # the end, as Linux tells it
        pass
    os.close(leader)
    assert process.wait() == 0
    assert b"OWNED" in said
    assert b"\x1b]0;" not in said
    assert b"\x1b[2J" not in said
    assert "\u202e".encode() not in said
