"""What a source of images may be told; which of it means something is the source's business."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Options:
    """See `open_data`."""

    name: str
    data_dir: Path | None
    image_size: int | None
    download: bool
    workers: int

    def refuse_image_size_other_than(self, side: int) -> None:
        """Stop where images have one size and another one is asked for."""
        if self.image_size not in (None, side):
            raise DataError(
                f"`image_size` {self.image_size}, but data set {self.name!r} has images of {side}x{side}; "
                "only 'imagefolder' and 'imagenet' resize"
            )
