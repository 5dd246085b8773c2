"""The data sets `imagefolder` and `imagenet`: the user's own folders of images."""

from ...weights import schema
from ..errors import DataError
from .base import SPLITS, DataInfo, ImageData
from .decode import decode_all, size_of
from .decode_cache import cached_images
from .listing import Listing, list_splits
from .memory import MemoryData
from .options import IMAGENET_MEAN, IMAGENET_STD, Options

LARGEST_IN_MEMORY = 64  # pixels a side
STREAMED_SIZE = 224


def open_folder(options: Options) -> ImageData:
    """Open a folder with train/ and val/ (or test/), each with one folder of images per class.

    Small images (up to 64 pixels a side, or made so by `image_size`) are decoded once and held in memory,
    augmented by shifts of up to 4 pixels and flips. Larger ones are decoded each time they are read, and
    augmented as is usual on ImageNet. The first image of each class tells which it is. Both are normalised
    with ImageNet's mean and deviation.

    Raises:
        DataError: the folder is not laid out like that, or an image is unreadable or of another size.
    """
    if options.data_dir is None:
        raise DataError(
            f"data set {options.name!r} needs `data_dir`, a folder with train/ and val/ (or test/)"
        )
    listings = list_splits(options.data_dir)
    if _are_small(listings["train"], options.image_size):
        return _in_memory(listings, options)
    from .stream import StreamedData

    side = options.image_size or STREAMED_SIZE
    return StreamedData(_info(listings["train"], (3, side, side), options), listings, options.workers)


def _are_small(listing: Listing, image_size: int | None) -> bool:
    if image_size is not None:
        return image_size <= LARGEST_IN_MEMORY
    return all(max(size_of(path)) <= LARGEST_IN_MEMORY for path in listing.first_of_each_class())


def _in_memory(listings: dict[str, Listing], options: Options) -> MemoryData:
    side = options.image_size
    size = (side, side) if side else None
    variant = f"resized to {side}" if side else "as they are"
    images = {
        split: cached_images(listings[split], variant, lambda split=split: decode_all(listings[split], size))
        for split in SPLITS
    }
    (height, width), test_size = (tuple(images[split].shape[2:]) for split in SPLITS)
    if test_size != (height, width):
        raise DataError(
            f"images in {str(listings['train'].folder)!r} are {height}x{width}, those in "
            f"{str(listings['test'].folder)!r} {test_size[0]}x{test_size[1]}; "
            "give `image_size` to resize them all"
        )
    labels = {split: listings[split].labels for split in SPLITS}
    info = _info(listings["train"], (3, height, width), options)
    return MemoryData(info, images, labels, crop_padding=4, flip=True, listings=listings)


def _info(listing: Listing, input_size: tuple[int, int, int], options: Options) -> DataInfo:
    classes = tuple(schema.tamed(name) for name in listing.class_names)  # as weight files have them
    return DataInfo(options.name, len(classes), classes, input_size, IMAGENET_MEAN, IMAGENET_STD)
