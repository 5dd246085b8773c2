"""Decoded splits on disk, so that only the first command of many waits for the decoding."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .listing import Listing


def cache_folder() -> Path:
    """`PRUNE_CACHE`, or `prune` in the user's cache folder."""
    if os.environ.get("PRUNE_CACHE"):
        return Path(os.environ["PRUNE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prune"


def cached_images(listing: Listing, variant: str, decode: Callable[[], NDArray[np.uint8]]) -> Tensor:
    """Map the decoded images of a split into memory, decoding and storing them if they are not stored yet.

    What is stored counts as long as every file of the split has its name, its size and its time of change. If
    the cache cannot be written, there is none.

    Args:
        listing: the split.
        variant: says what `decode` does, where it could do one thing or another.
        decode: makes images_NCHW.

    Returns:
        images_NCHW, uint8.
    """
    split = hashlib.sha256(f"{listing.folder.resolve()}\0{variant}".encode()).hexdigest()[:16]
    path = cache_folder() / "decoded" / f"{split}-{_fingerprint(listing)}.npy"
    images_NCHW = _load(path, len(listing.names))
    if images_NCHW is None:
        images_NCHW = decode()
        with suppress(OSError):
            _store(path, images_NCHW)
            _drop_others(path, split)
    return torch.from_numpy(images_NCHW)


def _fingerprint(listing: Listing) -> str:
    digest = hashlib.sha256()
    for name in listing.names:
        status = os.stat(f"{listing.folder}/{name}")
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _load(path: Path, count: int) -> NDArray[np.uint8] | None:
    try:  # copy on write ("c"), since torch wants memory that could be written to
        images_NCHW = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = images_NCHW.dtype == np.uint8 and images_NCHW.ndim == 4 and images_NCHW.shape[:2] == (count, 3)
    return images_NCHW if fits else None


def _store(path: Path, images_NCHW: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.save(file, images_NCHW)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _drop_others(path: Path, split: str) -> None:
    """What the same folder looked like earlier is of no use any more."""
    for other in path.parent.glob(f"{split}-*.npy"):
        if other != path:
            other.unlink(missing_ok=True)
