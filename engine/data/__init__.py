"""Labelled images behind one interface: `open_data` by name, then `.info` and `.batches(...)`."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from ...archs.errors import one_of
from ..errors import DataError
from .base import DataInfo, ImageData
from .options import Options

__all__ = ["DataInfo", "ImageData", "names", "open_data"]

_OPENERS = {  # data set -> module and function that opens it, imported when it is asked for
    "cifar10": ("cifar", "open_cifar"),
    "cifar100": ("cifar", "open_cifar"),
    "digits": ("digits", "open_digits"),
    "imagefolder": ("folder", "open_folder"),
    "imagenet": ("folder", "open_folder"),
}


def names() -> tuple[str, ...]:
    """The data sets that `open_data` knows."""
    return tuple(_OPENERS)


def open_data(
    name: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    download: bool = False,
    workers: int = 0,
) -> ImageData:
    """Open a data set.

    Args:
        name: one of `names()`.
        data_dir: where its files are; `digits` has none.
        image_size: the side, in pixels, to which images in folders are resized.
        mean: normalise with this instead of the data set's own, per channel, of values in [0, 1].
        std: as `mean`.
        download: whether CIFAR may be fetched if it is missing.
        workers: processes that decode images too large for memory; 0 means this one.

    Raises:
        DataError: unknown, missing, incomplete or unreadable data, or an option that makes no sense for them.
    """
    if name not in _OPENERS:
        raise DataError(one_of("data set", name, _OPENERS))
    if image_size is not None and image_size < 1:
        raise DataError(f"image size {image_size}; it must be at least 1 pixel")
    module, function = _OPENERS[name]
    options = Options(name, Path(data_dir) if data_dir else None, image_size, download, workers)
    data: ImageData = getattr(import_module(f".{module}", __package__), function)(options)
    channels = data.info.input_size[0]
    chosen = {"mean": mean or data.info.mean, "std": std or data.info.std}
    for key, values in chosen.items():
        if len(values) != channels or (key == "std" and min(values) <= 0):
            raise DataError(
                f"normalisation {key} {tuple(values)}; {channels} numbers, std above 0, are needed"
            )
    folder = str(Path(data_dir).resolve()) if data_dir else None
    data.info = replace(data.info, mean=tuple(chosen["mean"]), std=tuple(chosen["std"]), folder=folder)
    return data
