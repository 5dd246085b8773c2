"""The weight file: HDF5, one flat dataset per tensor, everything else as JSON in one attribute."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5g, h5p, h5t  # pyright: ignore[reportAttributeAccessIssue]
from h5py.h5 import INDEX_CRT_ORDER, INDEX_NAME

from .errors import BadWeightFile, first_line
from .files import atomic_write, check_output, require_file, sha256
from .tensors import WeightFile, normalised
from .trust import Budget, open_dataset

__all__ = ["FORMAT", "WeightFile", "check_output", "parse_meta", "read", "render_meta", "sha256", "write"]

FORMAT = 1
META = "prune"
DEPS = "deps"

# What h5py raises on a damaged file depends on where the damage sits.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def read(path: str | Path) -> WeightFile:
    """Read a weight file of ours or of ResRep's, trusting nothing in it.

    Floats arrive as float32 and integers as int64, in the order they were written where the file recorded
    it, else in HDF5's own (alphabetical) order. A file without our metadata has empty `meta`.

    Raises:
        UnreadableFile: there is no such file, or it may not be opened.
        BadWeightFile: not HDF5, truncated, damaged, of a newer format, or holding anything but plain numbers
            that lie in the file itself; named is the first thing that is wrong.
    """
    path = require_file(path)
    if not h5py.is_hdf5(path):
        raise BadWeightFile(
            f"'{path}' is not an HDF5 file ({path.stat().st_size} bytes); copy or convert it again"
        )
    try:
        # Ours are never changed in place, so no lock is needed, and some network folders offer none.
        with h5py.File(path, "r", locking=False) as file:
            return _read(file, path)
    except _HDF5_ERRORS as error:
        raise BadWeightFile(
            f"'{path}' is damaged or truncated ({first_line(error)}); copy it again"
        ) from error


def write(path: str | Path, weight_file: WeightFile, *, force: bool = False) -> None:
    """Write a weight file, whole or not at all; ResRep's own code can read it.

    Args:
        force: an existing file is replaced.
    Raises:
        BadWeightFile: names, dtypes or metadata that cannot be stored.
        OutputExists, UnwritableOutput: as `check_output`; also a full disk.
    """
    arrays = {
        _key(name): normalised(array, f"tensor '{name}'") for name, array in weight_file.tensors.items()
    }
    if weight_file.deps is not None:
        if DEPS in arrays:
            raise BadWeightFile(f"a tensor is called '{DEPS}', which is the list of widths; rename it")
        arrays[DEPS] = _checked_deps(normalised(weight_file.deps, f"'{DEPS}'"), f"'{DEPS}'")
    content = _hdf5_bytes(arrays, render_meta(weight_file.meta))
    with atomic_write(path, force) as aside:
        aside.write_bytes(content)


def render_meta(meta: dict[str, Any]) -> str:
    """Return metadata as the JSON text that files carry, format version included.

    Raises:
        BadWeightFile: a value that strict JSON cannot hold (NaN and infinity among them).
    """
    try:
        return json.dumps({**meta, "format": FORMAT}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadWeightFile(
            f"metadata cannot be written as JSON: {error}; use plain finite values"
        ) from error


def parse_meta(text: str, where: str) -> dict[str, Any]:
    """Return the metadata in a file's JSON text, without the format version.

    Args:
        where: the file, for the error.
    Raises:
        BadWeightFile: broken JSON, no object, no format version, or a newer one.
    """
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadWeightFile(f"metadata '{META}' of '{where}' is not JSON: {error}") from error
    if not isinstance(meta, dict):
        raise BadWeightFile(f"metadata '{META}' of '{where}' is a JSON {type(meta).__name__}, not an object")
    version = meta.pop("format", None)
    if type(version) is not int or version < 1:
        raise BadWeightFile(f"metadata '{META}' of '{where}' has format {version!r}; known is {FORMAT}")
    if version > FORMAT:
        raise BadWeightFile(
            f"'{where}' has format {version}, written by a newer prune; this one reads {FORMAT}: upgrade"
        )
    return meta


def _hdf5_bytes(arrays: dict[str, np.ndarray], meta: str) -> bytes:
    """Return a whole HDF5 file; made in memory, since a full disk under HDF5's feet can crash the process."""
    with h5py.File("in memory", "w", driver="core", backing_store=False, track_order=True) as file:
        # A string of variable length lies outside its attribute, so HDF5's 64 KiB for attributes do not bind.
        file.attrs.create(META, meta, dtype=h5py.string_dtype("utf-8"))
        for key, array in arrays.items():
            file.create_dataset(key, data=array)
        file.flush()
        return file.id.get_file_image()


def _read(file: h5py.File, path: Path) -> WeightFile:
    root = h5g.open(file.id, b"/")
    meta = _read_meta(root, path)
    budget = Budget(path.stat().st_size)
    tensors: dict[str, np.ndarray] = {}
    for raw_name, link in _links(root):
        key = raw_name.decode("utf-8")
        where = f"{key!r} in '{path}'"
        dataset = open_dataset(root, raw_name, link, budget, where)
        tensors[key.replace("+", "/")] = normalised(np.asarray(h5py.Dataset(dataset)[()]), where)
    deps = tensors.pop(DEPS, None)
    if deps is not None:
        deps = _checked_deps(deps, f"'{DEPS}' in '{path}'")
    return WeightFile(tensors, meta, deps)


def _read_meta(root: h5g.GroupID, path: Path) -> dict[str, Any]:
    if not h5a.exists(root, META.encode()):
        return {}
    attribute = h5a.open(root, META.encode())
    kind = attribute.get_type()
    is_one_text = kind.get_class() == h5t.STRING and attribute.shape == ()
    fits = kind.get_size() <= path.stat().st_size
    text: Any = h5py.Group(root).attrs[META] if is_one_text and fits else None
    if not isinstance(text, str | bytes):
        raise BadWeightFile(f"metadata '{META}' of '{path}' is not one string of JSON; write the file again")
    return parse_meta(text.decode("utf-8") if isinstance(text, bytes) else text, str(path))


def _links(root: h5g.GroupID) -> list[tuple[bytes, int]]:
    """List names and link types, in the order of writing where it is known, following no link."""
    tracked = root.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED
    links: list[tuple[bytes, int]] = []
    root.links.iterate(
        lambda name, info: links.append((name, info.type)),
        idx_type=INDEX_CRT_ORDER if tracked else INDEX_NAME,
        info=True,
    )
    return links


def _key(name: str) -> str:
    """Return a tensor's dataset name: HDF5 keeps '/' for groups, so ResRep writes it as '+'."""
    if "+" in name:
        raise BadWeightFile(
            f"tensor name '{name}' holds '+', which stands for '/' in a weight file; rename it"
        )
    if name in ("", ".") or "\0" in name:
        raise BadWeightFile(f"tensor name {name!r} cannot be stored; rename it")
    return name.replace("/", "+")


def _checked_deps(deps: np.ndarray, where: str) -> np.ndarray:
    if deps.dtype != np.int64 or deps.ndim != 1:
        raise BadWeightFile(
            f"{where} is {deps.dtype} of shape {deps.shape}; the widths are one row of integers"
        )
    return deps
