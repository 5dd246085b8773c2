"""Is a weight file what was written, and are its parents what its history says?"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .files import sha256
from .formats import FORMATS, read_any
from .metadata import history_of


def verify_parents(
    path: str | Path, history: tuple[dict[str, Any], ...], places: Iterable[Path]
) -> list[dict[str, Any]]:
    """Look for the files that a file came from, by their SHA-256, and read each that is found.

    Args:
        path: of the file.
        history: of the file.
        places: folders to look in.

    Returns:
        Per step of the history: its `command`, its `parent` (SHA-256 or None), the `file` that has it (None
        if there is none), and `verdict`: in words what is known about that.
    """
    by_hash = _hashes(Path(path), places) if any(step.get("parent") for step in history) else {}
    found = []
    for place, step in enumerate(history):
        parent = step.get("parent")
        file = by_hash.get(parent) if parent else None
        verdict = "began here" if parent is None else "not found here"
        if file is not None:
            verdict = _verdict(file, history[: _first_from(parent, history, place)])
        found.append(
            {"command": step.get("command"), "parent": parent, "file": file and str(file), "verdict": verdict}
        )
    return found


def _first_from(parent: str | None, history: tuple[dict[str, Any], ...], place: int) -> int:
    """Where the steps begin that led from one file to `place` with nothing written in between."""
    while place and history[place - 1].get("parent") == parent:
        place -= 1
    return place


def _hashes(path: Path, places: Iterable[Path]) -> dict[str, Path]:
    """SHA-256 of the weight files in some folders."""
    files = {
        file
        for folder in places
        if folder.is_dir()
        for file in folder.iterdir()
        if file.suffix.lower() in FORMATS and file.is_file() and file != path
    }
    found: dict[str, Path] = {}
    for file in sorted(files):
        try:
            found.setdefault(sha256(file), file)
        except WeightsError:
            continue  # somebody else's, which may not be read
    return found


def _verdict(file: Path, before: tuple[dict[str, Any], ...]) -> str:
    try:
        parent = read_any(file)
        same = history_of(parent.meta, str(file)) == before
    except WeightsError as error:
        return f"damaged: {error}"
    if not same:
        return "the bytes agree, its history does not"
    return "as it was written" if parent.verified else "the bytes agree"
