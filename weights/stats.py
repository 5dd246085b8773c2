"""Facts about weight files: statistics of every tensor, the form of a file, what differs between two."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from .files import sha256
from .formats import format_of, read_any
from .tensors import WeightFile

# Floating-point entries that no optimiser step and no paper counts as parameters.
_NOT_PARAMETERS = {"running_mean", "running_var", "mask"}


def describe(path: str | Path) -> dict[str, Any]:
    """Return all facts about a weight file, ready for JSON; HDF5 files need no torch.

    Returns:
        `path`, `format`, `bytes`, `sha256`, `form`, `params`, `deps` (list or None), `meta`, `verified` (has
        it checksums? they agree, or it is an error), and `tensors`, a list of {`name`, `shape`, `dtype` after
        reading} with the entries of `tensor_stats`.
    Raises:
        WeightsError: as `formats.read_any`.
    """
    weight_file = read_any(path)
    return {
        "path": str(path),
        "format": format_of(path),
        "bytes": os.path.getsize(path),
        "sha256": sha256(path),
        "form": form(weight_file),
        "params": count_params(weight_file),
        "deps": None if weight_file.deps is None else weight_file.deps.tolist(),
        "meta": weight_file.meta,
        "verified": weight_file.verified,
        "tensors": [
            {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), **tensor_stats(array)}
            for name, array in weight_file.tensors.items()
        ],
    }


def compare(path_a: str | Path, path_b: str | Path) -> dict[str, Any]:
    """Return what differs between two weight files, ready for JSON: `a`, `b` (the paths) and all of `diff`.

    Raises:
        WeightsError: as `formats.read_any`.
    """
    return {"a": str(path_a), "b": str(path_b), **diff(read_any(path_a), read_any(path_b))}


def tensor_stats(array: np.ndarray) -> dict[str, Any]:
    """Return a tensor's statistics in float64, over its finite values.

    Returns:
        `min`, `max`, `mean`, `std` (of the population), `norm` (Euclidean), `zeros` (share of exact zeros),
        each None where there is no finite value; `nonfinite`, the number of NaN and infinite ones; and for
        four-dimensional weights (F, C, kh, kw) `zero_filters`, how many of the F are zero throughout.
    """
    finite = array[np.isfinite(array)].astype(np.float64)
    facts: dict[str, Any] = dict.fromkeys(("min", "max", "mean", "std", "norm", "zeros"))
    if finite.size:
        facts = {
            "min": float(finite.min()),
            "max": float(finite.max()),
            "mean": float(finite.mean()),
            "std": float(finite.std()),
            "norm": float(np.sqrt(np.square(finite).sum())),
            "zeros": float(np.mean(finite == 0)),
        }
    facts["nonfinite"] = array.size - finite.size
    if array.ndim == 4:
        facts["zero_filters"] = int(np.sum(~array.any(axis=(1, 2, 3))))
    return facts


def form(weight_file: WeightFile) -> str:
    """Tell a network's form by its keys.

    Returns:
        `training` where there are ResRep's compactors, `deploy` where convolutions have a bias and no batch
        normalisation is left, else `plain`.
    """
    tensors = weight_file.tensors
    if any(".compactor." in name for name in tensors):
        return "training"
    if any(name.endswith("running_var") for name in tensors):
        return "plain"
    convs = [name for name, array in tensors.items() if array.ndim == 4 and name.endswith("weight")]
    has_bias = any(name.removesuffix("weight") + "bias" in tensors for name in convs)
    return "deploy" if has_bias else "plain"


def count_params(weight_file: WeightFile) -> int:
    """Count the numbers that are trained: no running statistics, masks, counters, indices or `deps`."""
    return sum(
        array.size
        for name, array in weight_file.tensors.items()
        if array.dtype.kind == "f" and name.rpartition(".")[2] not in _NOT_PARAMETERS
    )


def diff(a: WeightFile, b: WeightFile) -> dict[str, Any]:
    """Compare two files tensor by tensor.

    Returns:
        `identical` (names, shapes and values; order and metadata aside), `only_in_a`, `only_in_b`, `shapes`
        [{`name`, `a`, `b`}] that differ, `max_abs` {name: largest absolute difference} of the tensors whose
        values differ, largest first; None stands for NaN or infinity in one of them, and comes before all.
    """
    common = [name for name in a.tensors if name in b.tensors]
    same_shape = [name for name in common if a.tensors[name].shape == b.tensors[name].shape]
    distances = {name: _distance(a.tensors[name], b.tensors[name]) for name in same_shape}
    differing = sorted((name for name in same_shape if distances[name]), key=lambda name: -distances[name])
    facts: dict[str, Any] = {
        "only_in_a": [name for name in a.tensors if name not in b.tensors],
        "only_in_b": [name for name in b.tensors if name not in a.tensors],
        "shapes": [
            {"name": name, "a": list(a.tensors[name].shape), "b": list(b.tensors[name].shape)}
            for name in common
            if a.tensors[name].shape != b.tensors[name].shape
        ],
        "max_abs": {name: distances[name] if np.isfinite(distances[name]) else None for name in differing},
    }
    return {"identical": not any(facts.values()), **facts}


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest absolute difference; NaN equals NaN and is infinitely far from a number."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not apart.any():
        return 0.0
    with np.errstate(invalid="ignore"):
        largest = np.abs(a[apart] - b[apart]).max()
    return float(largest) if np.isfinite(largest) else float("inf")
