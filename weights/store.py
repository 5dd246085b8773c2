"""The weight file: HDF5, one flat dataset per tensor, everything else as JSON in one attribute."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .checksums import verify
from .errors import BadWeightFile, UnreadableFile, first_line
from .files import atomic_write, check_output, require_file, sha256
from .hdf5 import groups, objects, values
from .hdf5.source import Damaged, NotPlain, Source, Unsupported
from .memory import Memory
from .metadata import MARK, parse_meta, render_meta
from .tensors import WeightFile, normalised

__all__ = ["WeightFile", "check_output", "is_hdf5", "read", "sha256", "write"]

META = "prune"
META_CHECKSUM = "prune.checksum"
DEPS = "deps"

_LINK_KINDS = {groups.SOFT: "a soft link", groups.EXTERNAL: "a link to another file"}


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
    try:
        with path.open("rb") as file:
            if file.read(8) != objects.SIGNATURE:
                raise BadWeightFile(
                    f"'{path}' is not an HDF5 file ({path.stat().st_size} bytes); copy or convert it again"
                )
            return _read(Source(file), path)
    except Unsupported as error:
        raise BadWeightFile(
            f"'{path}' has {error}, which is not read here; write it again with h5py's defaults"
        ) from error
    except (Damaged, OSError, ValueError, OverflowError) as error:
        raise BadWeightFile(
            f"'{path}' is damaged or truncated ({first_line(error)}); copy it again"
        ) from error


def is_hdf5(path: str | Path) -> bool:
    """Is it a regular file that begins as HDF5 does?"""
    try:
        with require_file(path).open("rb") as file:
            return file.read(8) == objects.SIGNATURE
    except (UnreadableFile, OSError):
        return False


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
    content = _hdf5_bytes(arrays, *render_meta(weight_file.meta, arrays))
    with atomic_write(path, force) as aside:
        aside.write_bytes(content)


def _hdf5_bytes(arrays: Mapping[str, np.ndarray], meta: str, checksum: str) -> bytes:
    """Return a whole HDF5 file; made in memory, since a full disk under HDF5's feet can crash the process."""
    import h5py

    with h5py.File("in memory", "w", driver="core", backing_store=False, track_order=True) as file:
        # A string of variable length lies outside its attribute, so HDF5's 64 KiB for attributes do not bind.
        file.attrs.create(META, meta, dtype=h5py.string_dtype("utf-8"))
        file.attrs.create(META_CHECKSUM, np.bytes_(checksum))
        for key, array in arrays.items():
            file.create_dataset(key, data=array)
        file.flush()
        return file.id.get_file_image()


def _read(source: Source, path: Path) -> WeightFile:
    root = objects.messages(source, objects.root_address(source))
    text, checksum = (_attribute(source, root, name, path) for name in (META, META_CHECKSUM))
    if text is None and checksum is None and source.holds(MARK):
        raise BadWeightFile(f"'{path}' has lost its metadata, and its checksums with it; copy it again")
    meta, checksums = parse_meta(text, checksum, str(path))
    arrays: dict[str, np.ndarray] = {}
    memory, left = Memory(source.size), source.size
    for link in groups.links(source, root):
        key = link.name.decode("utf-8")
        where = f"{key!r} in '{path}'"
        dataset = _dataset(source, link, where)
        if dataset.stored > left:  # together they cannot be larger than the file
            raise BadWeightFile(
                f"{where} claims {dataset.stored} bytes, but the file has only {left} left for it"
            )
        left -= dataset.stored
        memory.claim(dataset.dtype, dataset.shape, where, also=dataset.overhang)
        arrays[key] = normalised(dataset.read(source, repr(key)), where)
    if checksums is not None:
        verify(arrays, checksums, str(path))
    deps = arrays.pop(DEPS, None)
    if deps is not None:
        deps = _checked_deps(deps, f"'{DEPS}' in '{path}'")
    return WeightFile(
        {key.replace("+", "/"): array for key, array in arrays.items()}, meta, deps, checksums is not None
    )


def _attribute(source: Source, root: list[objects.Message], name: str, path: Path) -> str | None:
    try:
        text = values.attribute(source, root, name)
    except NotPlain as error:
        raise BadWeightFile(f"metadata '{name}' of '{path}' {error}") from error
    return None if text is None else text.decode("utf-8", "surrogateescape")


def _dataset(source: Source, link: groups.Link, where: str) -> values.Dataset:
    """What a link leads to, if all its numbers lie in this file.

    Raises:
        BadWeightFile: what it is instead.
    """
    if link.kind != groups.HARD:
        kind = _LINK_KINDS.get(link.kind, "a user-defined link")
        raise BadWeightFile(f"{where} is {kind}; a weight file holds its own datasets only")
    try:
        return values.dataset(source, objects.messages(source, link.address))
    except NotPlain as error:
        raise BadWeightFile(f"{where} {error}") from error


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
