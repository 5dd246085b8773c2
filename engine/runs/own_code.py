"""The user's own networks that runs were begun with: which code may be imported without being named again.

A run folder may come from anybody, and so may what lies beside it. So it is not the folder that says which
code is trusted, but this user's own record: whenever a run is begun with `arch` package.module:factory, the
digest of that source is kept in the cache folder. Where a run names code of any other, the user is asked.
The digest is of the factory's module and its packages; modules that these import in turn are not looked at.
"""

import hashlib
import importlib
import os
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

from ..data.decode_cache import cache_folder
from ..errors import TrainingError


def is_own(arch: str | None) -> bool:
    """Is this network made by code of the user's own?"""
    family, colon, _ = (arch or "").partition(":")
    return bool(colon) and family != "torchvision"


def digest(arch: str) -> str | None:
    """SHA-256 of the source of `package.module:factory`, its packages included; nothing is imported.

    Returns:
        64 hex digits; None where there is no source file, as for modules that are built in.
    """
    found = hashlib.sha256()
    path = sys.path if os.getcwd() in sys.path else [os.getcwd(), *sys.path]  # as it will be imported
    importlib.invalidate_caches()
    for part in arch.partition(":")[0].split("."):
        spec = PathFinder.find_spec(part, path)
        if spec is None or spec.origin is None or not spec.has_location:
            return None
        try:
            found.update(hashlib.sha256(Path(spec.origin).read_bytes()).digest())
        except OSError:
            return None
        path = list(spec.submodule_search_locations or ())
    return found.hexdigest()


def remember(arch: str | None) -> None:
    """Keep in mind that the user named this code; where that cannot be kept, it must be named again."""
    if arch is not None and is_own(arch) and (place := _place(arch)) is not None:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()


def require_named(arch: str | None, named: str | None, folder: Path) -> None:
    """Make sure that a run's code may be imported: it is named now, or was when a run began with it.

    Args:
        arch: what the run folder says.
        named: what the user says.
    Raises:
        TrainingError: it may not, or something else is named.
    """
    if named is not None and named != arch:
        raise TrainingError(f"{folder} is a run of {arch}, not of {named}; leave out `arch`")
    if arch is None or not is_own(arch) or named == arch:
        return
    place = _place(arch)
    if place is None or not place.exists():
        raise TrainingError(
            f"{folder} would import {arch!r}, which no run of yours began with as it is now; "
            f"if you trust it, add `arch` {arch}"
        )


def _place(arch: str) -> Path | None:
    source = digest(arch)
    if source is None:
        return None
    name = hashlib.sha256(f"{arch}\0{source}".encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "own-archs" / name
