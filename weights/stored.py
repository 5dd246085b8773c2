"""What a checkpoint's pickle says of its tensors: where their numbers lie, and of which kind they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import schema
from .pickles import pairs

# Storage class or dtype -> what NumPy calls it, or where NumPy has no such numbers, PyTorch.
_NUMPY = {
    **{"FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1"},
    **{"ByteStorage": "u1", "BoolStorage": "?", "UntypedStorage": "u1"},
    **{"ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16"},
    **{"float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "bfloat16", "bool": "?"},
    **{f"{sign}int{8 * size}": f"{sign or 'i'}{size}" for size in (1, 2, 4, 8) for sign in ("", "u")},
    **{"complex64": "c8", "complex128": "c16"},
    **{f"float8_{kind}": f"float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")},
}
RAW = {kind: "u2" if kind == "bfloat16" else "u1" for kind in _NUMPY.values() if "float" in kind}
_TORCH_NAMES = {"c8": "complex64", "c16": "complex128"}
_SPARSE = {"_rebuild_sparse_tensor": "torch.sparse_coo"}
_NOT_DENSE = ("_rebuild_qtensor", "_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass")
# What programs keep beside the weights, and of which nothing is taken in: FPGM's record of a training,
# numbers of NumPy's, PyTorch's own small things.
_SET_ASIDE = {
    "utils.RecorderMeter",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *("numpy.ndarray", "numpy.dtype", "_codecs.encode", "collections.Counter"),
    *("builtins.set", "__builtin__.set", "builtins.complex", "__builtin__.complex"),
    *("torch.Size", "torch.device", "torch.serialization._get_layout"),
}


class Damaged(Exception):
    """The file contradicts itself; says how."""


class HoldsMore(Exception):
    """The file names code to make an object with."""


@dataclass(frozen=True)
class Storage:
    """Numbers in a file, of `count` times the NumPy type `kind`, or one of PyTorch's own."""

    key: str
    kind: str
    count: int

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return np.dtype(RAW.get(self.kind, self.kind)).itemsize


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: a view of a storage, or in `odd` why it is none that a network's file has."""

    storage: Storage | None
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    odd: str = ""


@dataclass(frozen=True)
class Aside:
    """Stands for an object of which nothing is taken in."""

    name: str


def storage_of(words: Any) -> Storage:
    """What a pickle says of a storage: ("storage", its class, key, place, number of elements)."""
    if not isinstance(words, tuple) or len(words) < 5 or words[0] != "storage":
        raise Damaged("it refers to what is no storage")
    kind, key, count = getattr(words[1], "name", "").rpartition(".")[2], words[2], words[4]
    if kind not in _NUMPY or not isinstance(key, str) or not _is_size(count):
        raise Damaged(f"it has a storage of kind {schema.shown(kind or words[1])}")
    return Storage(key, _NUMPY[kind], count)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def call(name: str, arguments: tuple[Any, ...]) -> Any:
    """What stands for the result of a call.

    Raises:
        HoldsMore: of a function that no checkpoint of plain values needs.
    """
    function = name.removeprefix("torch._utils.")
    if name == "collections.OrderedDict":
        return pairs([item for pair in arguments[0] for item in pair]) if arguments else {}
    if function in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        return _tensor(*arguments[:4])
    if function == "_rebuild_tensor_v3":
        return _retyped(_tensor(*arguments[:4]), getattr(arguments[6], "name", ""))
    if function in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    if function in _SPARSE:
        return Stored(None, odd=f"a tensor of layout {_SPARSE[function]}")
    if function in _NOT_DENSE:
        return Stored(None, odd=f"a tensor of another layout ({function})")
    if name in _SET_ASIDE:
        return Aside(name)
    raise HoldsMore(name)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Stored:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or not all(map(_is_size, numbers)):
        raise Damaged("it has a tensor of no storage, or of a negative size")
    if len(shape) != len(strides) or len(shape) > 32:
        raise Damaged(f"it has a tensor of {len(shape)} dimensions and {len(strides)} strides")
    if storage.kind in _TORCH_NAMES:
        return Stored(None, odd=f"a torch.{_TORCH_NAMES[storage.kind]} tensor")
    return Stored(storage, offset, tuple(shape), tuple(strides))


def _retyped(tensor: Stored, name: str) -> Stored:
    """A tensor whose storage is bytes, as numbers of a type; offset and strides count numbers."""
    kind = _NUMPY.get(name.removeprefix("torch."))
    if kind is None or kind in _TORCH_NAMES or tensor.storage is None:
        return Stored(None, odd=f"a {name} tensor")
    whole = Storage(tensor.storage.key, kind, 1)
    storage = Storage(whole.key, kind, tensor.storage.count // whole.itemsize)
    return Stored(storage, tensor.offset, tensor.shape, tensor.strides)


def widened(array: np.ndarray, kind: str) -> np.ndarray:
    """Numbers that NumPy does not have, as float32; others as they are."""
    if kind == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if kind in RAW:
        import torch

        return torch.from_numpy(array.copy()).view(getattr(torch, kind)).float().numpy()
    return array
