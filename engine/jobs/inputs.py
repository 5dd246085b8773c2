"""What a run was begun with, and whether it is still the same when the run goes on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...weights import schema
from ...weights.files import sha256
from ..data import ImageData
from ..errors import TrainingError
from ..runs import own_code
from ..runs.runs import Run

_STORED = schema.mapping(schema.maybe(schema.text))


def fingerprints(files: Mapping[str, Path | None], arch: str, data: ImageData) -> dict[str, str | None]:
    """A digest of everything that a run reads: of files, of the user's own code, of the list of images.

    Args:
        files: setting -> the file, or the folder of files, that it names.
        arch: of the network.
        data: the images.

    Returns:
        Setting -> digest; None where nothing is read, or what is read cannot be told apart.
    """
    found: dict[str, str | None] = {name: _digest(path) for name, path in files.items()}
    return found | {
        "arch": own_code.digest(arch) if own_code.is_own(arch) else None,
        "images": data.fingerprint(),
    }


def require_same(run: Run, now: Mapping[str, str | None]) -> None:
    """Make sure that a run that goes on reads what it was begun with; runs of earlier versions do not know.

    Raises:
        TrainingError: names the first that has changed.
    """
    before: Any = run.config.get("inputs", {})
    try:
        _STORED(before, "inputs")
    except schema.WrongValue as error:
        raise TrainingError(f"{run.folder}/config.json describes no run of prune: {error}") from error
    changed = next((name for name in before if before[name] != now.get(name)), None)
    if changed is not None and not run.anyway:
        what = "are not the images" if changed == "images" else "is not the file"
        raise TrainingError(
            f"what `{changed}` names {what} that {run.folder} was begun with: its digest is "
            f"{str(now.get(changed))[:12]}, not {str(before[changed])[:12]}; bring that back, begin anew, "
            "or go on with `anyway`"
        )


def _digest(path: Path | None) -> str | None:
    if path is None or not path.is_dir():
        return None if path is None else sha256(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    words = "".join(f"{file.name}\0{sha256(file)}\n" for file in files)
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
