"""Weight files of every kind, told apart by suffix: HDF5, PyTorch checkpoints, safetensors."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import store
from .checksums import verify
from .errors import BadWeightFile, MissingPackage, UnknownFormat, first_line
from .files import atomic_write, check_output, require_file
from .metadata import parse_meta, render_meta
from .names import without_module
from .tensors import WeightFile, normalised
from .torch_file import Stored, read_torch

if TYPE_CHECKING:
    import torch

FORMATS = {
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".pth": "torch",
    ".pt": "torch",
    ".th": "torch",
    ".tar": "torch",  # name.pth.tar
    ".safetensors": "safetensors",
}
_WRAPPERS = ("state_dict", "model", "net")
_LEFT_BY_THOP = (".total_ops", ".total_params")  # THOP, which counts MACs, leaves its counters in the network
_ORDER = "prune.order"  # safetensors sorts its tensors; this metadata entry keeps the network's order


def format_of(path: str | Path) -> str:
    """Return what a file's suffix stands for: `hdf5`, `torch` or `safetensors`.

    Raises:
        UnknownFormat: another suffix, or none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        if Path(path).is_dir():
            raise UnknownFormat(f"'{path}' is a folder; name a file in it")
        has = f"the suffix '{suffix}'" if suffix else "no suffix"
        raise UnknownFormat(f"'{path}' has {has}; known are {' '.join(FORMATS)}")
    return FORMATS[suffix]


def read_any(path: str | Path) -> WeightFile:
    """Read a weight file of any known format; tensors arrive as float32 and int64, nothing is unpickled.

    From a PyTorch checkpoint the state dict is taken, whether bare or under `state_dict`, `model` or `net`;
    a uniform `module.` prefix is dropped and entries that are no tensors are ignored.

    Raises:
        UnknownFormat: the suffix says nothing.
        MissingPackage: safetensors is not installed.
        UnreadableFile, BadWeightFile: as `store.read`.
    """
    readers = {"hdf5": store.read, "torch": _read_torch, "safetensors": _read_safetensors}
    return readers[format_of(path)](path)


def write_any(path: str | Path, weight_file: WeightFile, *, force: bool = False) -> None:
    """Write a weight file in the format of its suffix, whole or not at all.

    HDF5 keeps everything; safetensors keeps tensors and metadata; a PyTorch file is a bare state dict, so
    that any program can load it. `deps` is in HDF5 only: the shapes say the same.

    Args:
        force: an existing file is replaced.
    Raises:
        UnknownFormat, MissingPackage: as `read_any`.
        BadWeightFile, OutputExists, UnwritableOutput: as `store.write`.
    """
    writers = {"hdf5": store.write, "torch": _write_torch, "safetensors": _write_safetensors}
    writers[format_of(path)](path, weight_file, force=force)


def check_any(path: str | Path, force: bool = False) -> None:
    """Make sure that `write_any` can write here, its package included; call it before any long work.

    Raises:
        UnknownFormat, MissingPackage, OutputExists, UnwritableOutput: why it could not.
    """
    check_output(path, force)
    if format_of(path) == "safetensors":
        _require_safetensors(path)


def _read_torch(path: str | Path) -> WeightFile:
    file = read_torch(path)
    state = _state_dict(file.content)
    if not state:
        raise BadWeightFile(
            f"'{path}' holds no state dict; looked for tensors at its top and under {_WRAPPERS}"
        )
    tensors: dict[str, np.ndarray] = {}
    for name, tensor in without_module(state).items():
        where = f"{name!r} in '{path}'"
        tensors[name] = normalised(file.array(tensor, where), where)
    return WeightFile(tensors, verified=file.summed)


def _state_dict(content: Any) -> dict[str, Stored]:
    """Return the tensors of a checkpoint, from the first wrapper that is there."""
    if not isinstance(content, Mapping):
        return {}
    wrapped = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    return {
        name: value
        for name, value in ((str(key), value) for key, value in wrapped.items())
        if isinstance(value, Stored) and not f".{name}".endswith(_LEFT_BY_THOP)
    }


def _write_torch(path: str | Path, weight_file: WeightFile, *, force: bool) -> None:
    import torch

    state = {
        name: torch.from_numpy(normalised(array, f"tensor '{name}'"))
        for name, array in weight_file.tensors.items()
    }
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_write(path, force) as aside:
        aside.write_bytes(content.getvalue())


def _read_safetensors(path: str | Path) -> WeightFile:
    path = require_file(path)
    _require_safetensors(path)
    from safetensors import safe_open

    tensors: dict[str, np.ndarray] = {}
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            for name in _in_order(list(file.keys()), notes):
                tensors[name] = _array(file.get_tensor(name), f"{name!r} in '{path}'")
    except BadWeightFile:
        raise
    except Exception as error:  # a damaged header can fail anywhere in safetensors, and numbers in torch
        raise BadWeightFile(f"'{path}' is damaged or no safetensors file: {first_line(error)}") from error
    meta, checksums = parse_meta(notes.get(store.META), notes.get(store.META_CHECKSUM), str(path))
    if checksums is not None:
        verify(tensors, checksums, str(path))
    return WeightFile(tensors, meta, verified=checksums is not None)


def _array(tensor: "torch.Tensor", where: str) -> np.ndarray:
    import torch

    if tensor.is_complex() or tensor.dim() > 32:
        raise BadWeightFile(
            f"{where} is a {tensor.dim()}-dimensional {tensor.dtype}; save plain dense floats"
        )
    # NumPy knows neither bfloat16 nor float8; doubles stay, to be checked for values beyond float32.
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        tensor = tensor.float()
    return normalised(tensor.numpy(), where)


def _in_order(names: list[str], notes: Mapping[str, str]) -> list[str]:
    """Put names in the order that was written beside them, where it is there and fits."""
    try:
        order = json.loads(notes.get(_ORDER, "null"))
        return order if sorted(order) == sorted(names) else names
    except (ValueError, TypeError, RecursionError):
        return names


def _write_safetensors(path: str | Path, weight_file: WeightFile, *, force: bool) -> None:
    _require_safetensors(path)
    from safetensors.numpy import save

    arrays = {name: normalised(array, f"tensor '{name}'") for name, array in weight_file.tensors.items()}
    meta, checksum = render_meta(weight_file.meta, arrays)
    notes = {store.META: meta, store.META_CHECKSUM: checksum, _ORDER: json.dumps(list(arrays))}
    content = save(arrays, notes)
    with atomic_write(path, force) as aside:
        aside.write_bytes(content)


def _require_safetensors(path: str | Path) -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f"'{path}' needs the safetensors package: pip install 'prune-cnn[safetensors]'"
        ) from error
