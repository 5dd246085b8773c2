"""Outputs that cannot be, or must not be: refused before any work, and the disk stays as it was."""

import os
import re
import sys
from pathlib import Path

import pytest
import warm


@pytest.mark.parametrize(
    "words",
    [
        "rank base.hdf5 --out mine.hdf5",
        "prune base.hdf5 --out mine.hdf5",
        "prune base.hdf5 --out new.hdf5 --plan-out mine.hdf5",
        "convert base.hdf5 mine.hdf5",
        "train-base --arch resnet20 --out run",
        "finetune base.hdf5 --out run",
    ],
)
def test_what_exists_is_refused_before_any_work(
    words: str, refused, file: Path, monkeypatch: pytest.MonkeyPatch
):
    Path("mine.hdf5").write_text("mine")
    Path("run").mkdir()
    Path("run/best.hdf5").write_text("mine")
    for work in ("prune.engine.network.files.load_network", "prune.engine.network.sources.load_network"):
        monkeypatch.setattr(work, None)  # whoever loads a network now fails otherwise
    assert re.search("exists; name another|is not empty; resume it", refused(*words.split()))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("prune base.hdf5 --out base.hdf5 --force", "output 'base.hdf5' would replace what another option"),
        ("prune base.hdf5 --out link.hdf5 --force", "output 'link.hdf5' would replace what another option"),
        (
            "prune base.hdf5 --out x.hdf5 --plan-out x.hdf5",
            "output 'x.hdf5' would replace what another option",
        ),
        (
            "prune base.hdf5 --scores base.hdf5 --plan-out base.hdf5 --force",
            "would replace what another option",
        ),
        ("rank base.hdf5 --out base.hdf5 --force", "output 'base.hdf5' would replace what another option"),
        ("convert base.hdf5 base.hdf5 --force", "'base.hdf5' would be overwritten by its conversion"),
        ("finetune base.hdf5 --out . --force", "output '.' would replace what another option"),
    ],
)
def test_an_output_that_is_an_input_is_refused_even_with_force(words: str, line: str, refused, file: Path):
    Path("link.hdf5").symlink_to("base.hdf5")
    assert line in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("rank base.hdf5 --out nowhere/x.hdf5", "no folder 'nowhere' for output 'x.hdf5'; create it: mkdir"),
        ("prune base.hdf5 --out nowhere/x.hdf5", "no folder 'nowhere' for output 'x.hdf5'; create it: mkdir"),
        ("prune base.hdf5 --out base.hdf5/x.hdf5", "'base.hdf5' in output 'base.hdf5/x.hdf5' is a file"),
        ("prune base.hdf5 --out .", "output '.' is a folder; name a file in it"),
        ("prune base.hdf5 --out x.zip", "'x.zip' has the suffix '.zip'; known are .hdf5"),
        ("prune base.hdf5 --out x", "'x' has no suffix; known are .hdf5"),
        ("convert base.hdf5 x.onyx", "'x.onyx' has the suffix '.onyx'"),
        ("train-base --arch resnet20 --out base.hdf5", "base.hdf5 is a file; a run needs a folder"),
        ("train-base --arch resnet20 --out base.hdf5/run", "cannot be made a run's folder"),
    ],
)
def test_outputs_that_cannot_be(words: str, line: str, refused, file: Path):
    assert line in refused(*words.split())


POWERLESS = """
import ctypes, os
from prune.cli.main import main
if os.geteuid() == 0:
    version_and_process, no_capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version_and_process, no_capabilities) == 0
"""


def test_a_folder_that_may_not_be_written(file: Path, tmp_path: Path):
    """In a process of its own, since root may write everywhere unless it gives that up for good."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    commands = [
        ["prune", str(file), "--out", "x.hdf5"],
        ["rank", str(file), "--criterion", "l1", "--out", "x.hdf5"],
        ["rank", str(file), "--criterion", "l1"],  # would make runs/ here
        ["convert", str(file), "x.pth"],
        ["train-base", "--arch", "resnet20", "--epochs", "1"],
    ]
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root may write everywhere, and only Linux lets it give that up")
    script = POWERLESS + "".join(f"print(main({words}))\n" for words in commands)
    ended = warm.run(["-c", script], locked)
    assert ended.stdout.split() == ["2"] * len(commands), ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert [bool(re.search("no permission|can be made in|Permission denied", line)) for line in errors] == [
        True
    ] * len(commands), ended.stderr
    assert not list(locked.iterdir())
