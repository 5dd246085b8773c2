"""Which images, and how many at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .group import After, Group, option, setting
from .network import ImageSize

if TYPE_CHECKING:
    from ...engine.network import sources

BatchSize = Annotated[
    int | None, option("Data", "--batch-size", "IMAGES", "Images per step. Default: 128.", min=1)
]
EvalBatchSize = Annotated[
    int | None,
    option("Data", "--eval-batch-size", "IMAGES", "Images per batch when testing. Default: 256.", min=1),
]


@dataclass(frozen=True)
class Images(Group, panel="Data"):
    """The images that a command works on."""

    dataset: str | None = setting("NAME", "Images to use, by name: digits, cifar10, ...")
    data_dir: Path | None = setting("FOLDER", "Where the images lie. Default: data.")
    download: bool = setting(None, "Fetch the images if they are not there.", default=False)
    image_size: ImageSize = None
    classes_by_position: bool = setting(
        None,
        "The first class is the first, even where images and file name their classes differently.",
        default=False,
    )
    workers: int | None = setting(
        "N",
        "Processes that load images. Default: by the data and the cores.",
        After("batch_size", "eval_batch_size"),
        min=0,
    )

    def images(self) -> "sources.Images":
        """The images, described as the engine takes them."""
        from ...engine.network import sources

        return sources.Images(**self.settings())
