"""Files on disk: what may be read, what may be written, and writing that is whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from .errors import OutputExists, UnreadableFile, UnwritableOutput

_ASIDE = ".prune-{}.tmp"


def require_file(path: str | Path) -> Path:
    """Return the path of a regular file that can be opened.

    Raises:
        UnreadableFile: missing, a folder, a device or pipe, or no permission.
    """
    path = Path(path)
    if path.is_dir():
        raise UnreadableFile(f"'{path}' is a folder; name a file in it")
    if not path.exists():
        raise UnreadableFile(f"no file '{path}'; check the path (working folder: '{Path.cwd()}')")
    if not path.is_file():
        raise UnreadableFile(f"'{path}' is not a regular file")
    if not os.access(path, os.R_OK):
        raise UnreadableFile(f"no permission to read '{path}'")
    return path


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits.

    Raises:
        UnreadableFile: the file cannot be read.
    """
    path = require_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableFile(f"cannot read '{path}': {error.strerror}") from error


def check_output(path: str | Path, force: bool = False) -> None:
    """Make sure that a file can be written here; commands call this before any long work.

    Args:
        force: an existing regular file may be replaced.
    Raises:
        OutputExists: the file is there and `force` is not given.
        UnwritableOutput: the path is a folder or a device, or its folder is missing or not writable.
    """
    path = Path(path)
    if path.is_dir():
        raise UnwritableOutput(f"output '{path}' is a folder; name a file in it")
    if os.path.lexists(path):
        if not (path.is_file() or path.is_symlink()):
            raise UnwritableOutput(f"output '{path}' is not a regular file; name another")
        if not force:
            raise OutputExists(f"output '{path}' exists; name another, or replace it with `force`")
    folder = path.parent
    if not folder.exists():
        raise UnwritableOutput(
            f"no folder '{folder}' for output '{path.name}'; create it: mkdir -p '{folder}'"
        )
    if not folder.is_dir():
        raise UnwritableOutput(f"'{folder}' in output '{path}' is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UnwritableOutput(f"no permission to write in folder '{folder}'; name another output")


def check_distinct(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Make sure that no output is an input or another output; `None` is a path nobody gave.

    An output may be a folder, and must then hold no input.

    Raises:
        UnwritableOutput: names the output.
    """
    # Not `Path.resolve`, which raises where links lead in a circle.
    taken = [Path(os.path.realpath(path)) for path in inputs if path is not None]
    for path in outputs:
        if path is None:
            continue
        place = Path(os.path.realpath(path))
        if any(place == other or place in other.parents for other in taken):
            raise UnwritableOutput(f"output '{path}' would replace what another option names; name another")
        taken.append(place)


@contextmanager
def atomic_write(path: str | Path, force: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all: yield an empty file beside it, then put that in its place.

    A reader sees the old file or the new one, also after a crash or a power cut. The file beside it is
    removed when the body raises; only a killed process can leave one (see `remove_leftovers`).

    Args:
        force: an existing file is replaced.
    Raises:
        OutputExists, UnwritableOutput: as `check_output`, or the body could not write.
    """
    path = Path(path)
    check_output(path, force)
    aside = path.parent / _ASIDE.format(secrets.token_hex(8))
    try:
        # Not tempfile: its files are readable by their owner alone, and the mode would stay after the rename.
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield aside
            _sync(aside)
            if force:
                check_output(path, force)  # it may have become a folder meanwhile
                os.replace(aside, path)
            else:
                _put(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise UnwritableOutput(f"could not write '{path}': {error.strerror or error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left of files they were writing here; nobody may be writing now."""
    for path in folder.glob(_ASIDE.format("*")):
        path.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Is a file of this name one that was being written?"""
    return fnmatch(name, _ASIDE.format("*"))


def _put(aside: Path, path: Path) -> None:
    """Give a file its name, unless somebody else has taken that meanwhile.

    Raises:
        OutputExists: it is taken.
    """
    try:
        os.link(aside, path)  # which, other than a rename, never replaces
    except FileExistsError:
        raise OutputExists(
            f"output '{path}' was written by another meanwhile; name another, or replace it with `force`"
        ) from None
    except OSError:  # a file system without links
        check_output(path)
        os.replace(aside, path)
    else:
        aside.unlink()


def _sync(path: Path) -> None:
    """Wait until a file's data, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
