"""Fuzzing that follows coverage: what random damage would not find in a lifetime."""

import os
import re
import resource
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
from soak.readers import READERS

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


SEEDS: dict[str, list[Callable[[Path], object]]] = {
    "x.hdf5": [ours, packed],
    "x.pth": [ours, legacy],
    "x.safetensors": [ours],
    "image.png": [reader.make for reader in READERS if reader.name.startswith("image.")],
    **{reader.name: [reader.make] for reader in READERS if not reader.name.startswith("image.")},
}
SOME = [pytest.param(name, 2) for name in ("x.hdf5", "x.pth", "plan.json")]
ALL = [pytest.param(name, 60, marks=pytest.mark.soak) for name in SEEDS]


@pytest.mark.parametrize(("name", "seconds"), SOME + ALL)
def test_fuzzing(figures, tmp_path: Path, name: str, seconds: int):
    if name == "x.safetensors":
        pytest.importorskip("safetensors")
    figure, corpus = figures(f"`{name}`, fuzzed by coverage (atheris)"), tmp_path / "corpus"
    corpus.mkdir()
    for number, make in enumerate(SEEDS[name]):
        (tmp_path / f"seed-{number}").mkdir()
        make(tmp_path / f"seed-{number}" / name)
        (tmp_path / f"seed-{number}" / name).rename(corpus / f"{number}")
    # Linux begins to count a child's memory at what its parent has.
    begins_at = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    memory = f"-rss_limit_mb={2000 + begins_at}"
    limits = [f"-max_total_time={scaled(seconds)}", memory, "-timeout=10", "-max_len=20000"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), name, str(corpus), *limits, f"-artifact_prefix={tmp_path}/"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said[-3000:]
    runs = re.search(r"Done (\d+) (?:runs )?in", said) or re.search(r"#(\d+)\s+DONE", said)
    assert runs, said[-3000:]
    figure.tried = figure.survived = int(runs[1])
    reached = re.findall(r"cov: (\d+)", said)
    figure.notes.append(f"{reached[-1]} edges")
