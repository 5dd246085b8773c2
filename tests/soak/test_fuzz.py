"""Fuzzing that follows coverage: what random damage would not find in a lifetime."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from prune.weights.formats import write_any
from prune.weights.store import WeightFile
from soak.figures import scaled

pytest.importorskip("atheris", reason="fuzzing needs atheris: pip install atheris (Python 3.11 to 3.13)")
SCRIPT = Path(__file__).with_name("fuzz_target.py")
TENSORS = {"a.weight": np.ones((2, 2), np.float32), "b": np.arange(3)}


def ours(path: Path) -> None:
    write_any(path, WeightFile(TENSORS, {"arch": "x", "history": [{"command": "a"}]}))


def packed(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones((8, 8)), compression="gzip", shuffle=True, chunks=(4, 4))


def legacy(path: Path) -> None:
    state = {name: torch.from_numpy(values) for name, values in TENSORS.items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("seconds", [2, pytest.param(600, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("suffix", "seeds"), [(".hdf5", [ours, packed]), (".pth", [ours, legacy])], ids=["hdf5", "pth"]
)
def test_fuzzing(figures, tmp_path: Path, suffix: str, seeds: list[Callable[[Path], None]], seconds: int):
    figure, corpus = figures(f"`{suffix}`, fuzzed by coverage (atheris)"), tmp_path / "corpus"
    corpus.mkdir()
    for make in seeds:
        make(corpus / f"{make.__name__}{suffix}")
    limits = [f"-max_total_time={scaled(seconds)}", "-rss_limit_mb=1000", "-timeout=3", "-max_len=20000"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), suffix, str(corpus), *limits, f"-artifact_prefix={tmp_path}/"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said[-3000:]
    runs = re.search(r"Done (\d+) (?:runs )?in", said) or re.search(r"#(\d+)\s+DONE", said)
    assert runs, said[-3000:]
    figure.tried = figure.survived = int(runs[1])
    reached = re.findall(r"cov: (\d+)", said)
    figure.notes.append(f"{reached[-1]} edges")
