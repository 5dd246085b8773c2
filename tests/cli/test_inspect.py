"""`prune inspect`, by its whole output."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from prune.cli.main import main
from prune.weights import store
from prune.weights.files import sha256

META = {
    "arch": "resnet20",
    "num_classes": 10,
    "normalisation": {"mean": [0.5, 0.25], "std": [1.0, 2.0]},
    "history": [
        {"command": "train-base"},
        {"command": "prune", "options": {"rate": 0.5, "force": True}, "parent": "0123456789abcdef" * 4},
    ],
}


def write(path: Path, meta: dict[str, Any] | None = None, **tensors: np.ndarray) -> str:
    arrays = {name.replace("__", "."): array for name, array in tensors.items()}
    store.write(path, store.WeightFile(arrays, meta or {}))
    return str(path)


@pytest.fixture
def network(tmp_path: Path) -> str:
    return write(
        tmp_path / "network.hdf5",
        META,
        conv__weight=np.array([-1, 0, 0, 3], np.float32).reshape(4, 1, 1, 1),
        bn__num_batches_tracked=np.array(7),
    )


def test_a_file(network: str, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", network]) == 0
    output = capsys.readouterr()
    expected = f"""\
        file           {network}
        size           {Path(network).stat().st_size / 1000:.1f} kB
        sha256         {sha256(network)}
        form           plain
        parameters     4
        arch           resnet20
        num classes    10
        normalisation  mean 0.5 0.25, std 1 2

        History
        command     options              parent
        ─────────────────────────────────────────────
        train-base  -                    -
        prune       rate 0.5, force yes  0123456789ab

        2 tensors
        name                      shape  dtype    min  max  mean  std  zeros
        ────────────────────────────────────────────────────────────────────
        conv.weight             4x1x1x1  float32   -1    3   0.5  1.5  50.0%
        bn.num_batches_tracked       ()  int64      7    7     7    0   0.0%

        """
    shown = "".join(line.rstrip() + "\n" for line in output.out.splitlines())
    assert shown == dedent(expected)
    assert not output.err


def test_only_what_a_glob_matches(network: str, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", network, "--filter", "*.weight", "--json"]) == 0
    assert [tensor["name"] for tensor in json.loads(capsys.readouterr().out)["tensors"]] == ["conv.weight"]


def test_a_glob_that_matches_nothing(network: str, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", network, "--filter", "fc.*"]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert f"'fc.*' matches no tensor in '{network}'" in output.err


def test_numbers_that_are_none_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "broken.hdf5", fine=np.ones(2), broken=np.array([np.nan, np.inf]))
    assert main(["inspect", path]) == 0
    assert capsys.readouterr().err == "warning: NaN or infinite values in 1 of 2 tensors, the first broken\n"


@pytest.mark.parametrize(
    "history", ["a word", [1, None], {"command": "prune"}, [{}, {"command": None}], [{"parent": 3}]]
)
def test_any_history_can_be_shown(history: Any, tmp_path: Path):
    assert main(["inspect", write(tmp_path / "x.hdf5", {"history": history}, a=np.ones(1))]) == 0


def test_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a = write(tmp_path / "a.hdf5", conv__weight=np.ones((4, 3)), bias=np.zeros(2), old=np.ones(1))
    b = write(tmp_path / "b.hdf5", conv__weight=np.ones((2, 3)), bias=np.array([0, 0.5]), new=np.ones(1))
    assert main(["inspect", a, "--diff", b]) == 0
    expected = f"""\
        a          {a}
        b          {b}
        identical  no

        Only in a
        name
        ────
        old

        Only in b
        name
        ────
        new

        Shapes that differ
        name           a    b
        ─────────────────────
        conv.weight  4x3  2x3

        Values that differ
        name  largest difference
        ────────────────────────
        bias                 0.5

        """
    shown = "".join(line.rstrip() + "\n" for line in capsys.readouterr().out.splitlines())
    assert shown == dedent(expected)


def test_no_difference(network: str, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", network, "--diff", network, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True


def test_a_file_of_the_authors(shared_golden: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(shared_golden / "authors/resrep_src56_train.hdf5"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["form"] == "training"
    assert len(facts["tensors"]) == 398
