"""Weight files are read before a command begins: what is damaged or hostile costs no time and no memory."""

from collections.abc import Iterable, Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any, get_args

from .options.group import Scores, Weights

_OFFICIAL = "torchvision:"  # before a name, of weights that are no file of the user's


def look_at_files(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> None:
    """Read whatever weight files a command line names, and forget them.

    Args:
        parameters: of the command; those with a `Weights` among their annotations name files.
        values: what was typed, by parameter.

    Raises:
        WeightsError: the first file that cannot be read, or is not believed.
    """
    for parameter in parameters:
        mark = next((mark for mark in get_args(parameter.annotation) if isinstance(mark, Weights)), None)
        named = values[parameter.name] or []
        if mark is not None:
            for path in named if isinstance(named, list) else [named]:
                _look_at(path, mark, values.get("image_size"))


def _look_at(path: Path, mark: Weights, image_size: int | None) -> None:
    from ..weights import formats, metadata, store

    if isinstance(mark, Scores):  # where they are anything else, the command knows better what to say
        if store.is_hdf5(path):
            store.read(path)
    elif not path.name.startswith(_OFFICIAL):
        meta = formats.read_any(path).meta
        if image_size is None:
            metadata.believed_size(meta, str(path))
