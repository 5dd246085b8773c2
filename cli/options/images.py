"""Which images, and how many at a time."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .group import After, Group, option
from .network import ImageSize

if TYPE_CHECKING:
    from ...engine.network import sources

_data = partial(option, "Data")

BatchSize = Annotated[int | None, _data("--batch-size", "IMAGES", "Images per step. Default: 128.", min=1)]
EvalBatchSize = Annotated[
    int | None, _data("--eval-batch-size", "IMAGES", "Images per batch when testing. Default: 256.", min=1)
]


@dataclass(frozen=True)
class Images(Group):
    """The images that a command works on."""

    dataset: Annotated[
        str | None, _data("--dataset", "NAME", "Images to use, by name: digits, cifar10, ...")
    ] = None
    data_dir: Annotated[
        Path | None, _data("--data-dir", "FOLDER", "Where the images lie. Default: data.")
    ] = None
    download: Annotated[bool, _data("--download", None, "Fetch the images if they are not there.")] = False
    image_size: ImageSize = None
    classes_by_position: Annotated[
        bool,
        _data(
            "--classes-by-position",
            None,
            "The first class is the first, even where images and file name their classes differently.",
        ),
    ] = False
    workers: Annotated[
        int | None,
        _data("--workers", "N", "Processes that load images. Default: by the data and the cores.", min=0),
        After("batch_size", "eval_batch_size"),
    ] = None

    def images(self) -> "sources.Images":
        """The images, described as the engine takes them."""
        from ...engine.network import sources

        return sources.Images(**self.settings())
