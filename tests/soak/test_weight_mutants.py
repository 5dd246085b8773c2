"""Damaged files by the thousand: each is refused in one line, or comes back as it was; none takes long."""

import random
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from mutants import mutant
from prune.weights.errors import WeightsError
from prune.weights.formats import read_any, write_any
from prune.weights.store import WeightFile
from soak.figures import scaled

random_numbers = np.random.RandomState(0)
TENSORS = {f"layer{n}.weight": random_numbers.randn(4, 3, 3, 3).astype(np.float32) for n in range(14)}
LONGEST = 2.0  # seconds


def compressed(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, values in TENSORS.items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True, chunks=(2, 3, 3, 3))


def legacy(path: Path) -> None:
    state = {name: torch.from_numpy(values) for name, values in TENSORS.items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def ours(path: Path) -> None:
    write_any(path, WeightFile(TENSORS, {"arch": "x", "history": [{"command": "a"}]}))


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("name", "make", "summed"),
    [
        ("x.hdf5", ours, True),
        ("x.pth", ours, True),
        ("x.safetensors", ours, True),
        ("compressed.hdf5", compressed, False),
        ("legacy.pth", legacy, False),
    ],
)
def test_a_mutant_is_refused_or_harmless(
    figures, tmp_path: Path, name: str, make: Callable[[Path], None], summed: bool, count: int
):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    path = tmp_path / name
    make(path)
    content, draw, refused = path.read_bytes(), random.Random(zlib.crc32(name.encode())), 0
    figure = figures(f"damaged `{name}`")
    for number in range(scaled(count)):
        path.write_bytes(mutant(content, draw))
        began = time.monotonic()
        with figure.case():
            try:
                back = read_any(path).tensors
            except WeightsError:
                refused += 1
            else:
                same = list(back) == list(TENSORS) and all(
                    np.array_equal(back[name], values) for name, values in TENSORS.items()
                )
                assert same or not summed, f"a change that nobody noticed, {number}"
            assert time.monotonic() - began < LONGEST, number
    assert refused > figure.tried / 4
