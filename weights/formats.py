"""Weight files of every kind, told apart by suffix: HDF5, PyTorch checkpoints, safetensors."""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import store
from .errors import BadWeightFile, MissingPackage, UnknownFormat, first_line
from .files import atomic_write, check_output, require_file
from .names import without_module
from .tensors import WeightFile, normalised

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
# What programs keep beside the weights: FPGM's record of a training, and the NumPy numbers in it.
_SET_ASIDE = (
    "utils.RecorderMeter",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
)
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


class _Ignored:
    """Stands for an object in a checkpoint that is of no interest here; takes in nothing of it."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _read_torch(path: str | Path) -> WeightFile:
    import torch

    path = require_file(path)
    set_aside = torch.serialization.safe_globals([(_Ignored, name) for name in _SET_ASIDE])
    try:
        # Unchecked, sparse indices may point outside.
        with set_aside, torch.sparse.check_sparse_tensor_invariants():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadWeightFile(
            f"'{path}' holds more than tensors, or is no PyTorch file; it will not be unpickled. Where it "
            "was made, save a state dict: torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:  # a damaged archive can fail anywhere in torch
        raise BadWeightFile(
            f"'{path}' cannot be read as a PyTorch checkpoint: {first_line(error)}"
        ) from error
    state = _state_dict(content)
    if not state:
        raise BadWeightFile(
            f"'{path}' holds no state dict; looked for tensors at its top and under {_WRAPPERS}"
        )
    return WeightFile(_arrays(without_module(state), path))


def _state_dict(content: Any) -> dict[str, "torch.Tensor"]:
    """Return the tensors of a checkpoint, from the first wrapper that is there."""
    import torch

    if not isinstance(content, Mapping):
        return {}
    wrapped = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    return {
        name: value
        for name, value in ((str(key), value) for key, value in wrapped.items())
        if isinstance(value, torch.Tensor) and not f".{name}".endswith(_LEFT_BY_THOP)
    }


def _arrays(tensors: Mapping[str, "torch.Tensor"], path: Path) -> dict[str, np.ndarray]:
    import torch

    arrays: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        where = f"{name!r} in '{path}'"
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
            raise BadWeightFile(
                f"{where} is a {tensor.dtype} tensor of layout {tensor.layout}; save plain dense floats"
            )
        # A stride of 0 lets a few bytes pose as a tensor of any size.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise BadWeightFile(
                f"{where} declares shape {tuple(tensor.shape)}, more than the file holds; save a copy of it"
            )
        # NumPy knows neither bfloat16 nor float8; doubles stay, to be checked for values beyond float32.
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            tensor = tensor.float()
        arrays[name] = normalised(tensor.detach().numpy(), where)
    return arrays


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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in _in_order(list(file.keys()), notes)}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise BadWeightFile(f"'{path}' is damaged or no safetensors file: {error}") from error
    meta = store.parse_meta(notes[store.META], str(path)) if store.META in notes else {}
    return WeightFile(_arrays(tensors, path), meta)


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
    notes = {store.META: store.render_meta(weight_file.meta), _ORDER: json.dumps(list(arrays))}
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
