"""Decoded splits on disk, so that only the first command of many waits for the decoding."""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .listing import Listing

_DECODING = 2  # one more whenever `decode` makes other pixels of the same files


def cache_folder() -> Path:
    """`PRUNE_CACHE`, or `prune` in the user's cache folder."""
    if os.environ.get("PRUNE_CACHE"):
        return Path(os.environ["PRUNE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prune"


def cached_images(listing: Listing, variant: str, decode: Callable[[], NDArray[np.uint8]]) -> Tensor:
    """Read the decoded images of a split, decoding and storing them if they are not stored yet.

    What is stored counts as long as its checksum is right, and every file of the split has its name, its
    size and its times. It is read, not mapped: a mapped file that is cut under a run ends it without a
    word. If the cache cannot be written, there is none.

    Args:
        listing: the split.
        variant: says what `decode` does, where it could do one thing or another.
        decode: makes images_NCHW.

    Returns:
        images_NCHW, uint8.
    """
    words = f"{os.path.realpath(listing.folder)}\0{variant}".encode("utf-8", "surrogateescape")
    split = hashlib.sha256(words).hexdigest()[:16]
    state = f"{listing.fingerprint(also_changed=True)[:32]}-{_DECODING}"
    path = cache_folder() / "decoded" / f"{split}-{state}.npy"
    images_NCHW = _load(path, len(listing.names))
    if images_NCHW is None:
        images_NCHW = decode()
        with suppress(OSError):
            _store(path, images_NCHW)
            _drop_others(path, split)
    return torch.from_numpy(images_NCHW)


def _load(path: Path, count: int) -> NDArray[np.uint8] | None:
    try:
        with path.open("rb") as file:
            images_NCHW = np.load(file, allow_pickle=False)
            whole = file.read() == _checksum(images_NCHW)
    except Exception:  # a damaged header can fail anywhere in NumPy
        return None
    fits = images_NCHW.dtype == np.uint8 and images_NCHW.ndim == 4 and images_NCHW.shape[:2] == (count, 3)
    return images_NCHW if whole and fits else None


def _store(path: Path, images_NCHW: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.save(file, images_NCHW)
            file.write(_checksum(images_NCHW))
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _checksum(images_NCHW: NDArray[np.uint8]) -> bytes:
    """What stands behind the array in its file."""
    return b"%08x" % zlib.crc32(np.ascontiguousarray(images_NCHW).data)


def _drop_others(path: Path, split: str) -> None:
    """What the same folder looked like earlier is of no use any more."""
    for other in path.parent.glob(f"{split}-*.npy"):
        if other != path:
            other.unlink(missing_ok=True)
