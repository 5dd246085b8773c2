"""Decoding image files with Pillow: one of any size, or all of a split into one array."""

import os
import stat
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...weights.errors import first_line
from ..errors import DataError
from .listing import Listing

# What is opened, whatever a file is called: for others Pillow may start programs, for PostScript Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# A few bytes may unpack to any number of pixels; photographs have less than ten for a byte.
_ALWAYS_DECODED = 2**24
_PIXELS_PER_BYTE = 64
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # of a bound that is less strict

Size = tuple[int, int]  # height, width


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong until it is closed is an error about this file.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        with Image.open(path, formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max(_ALWAYS_DECODED, _PIXELS_PER_BYTE * status.st_size):
                raise ValueError(
                    f"{image.height}x{image.width} pixels in {status.st_size} bytes are no photograph"
                )
            yield image
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise DataError(f"cannot read image {str(path)!r}: its content is none of {known}") from error
    except Exception as error:  # a damaged image can fail anywhere in Pillow
        raise DataError(f"cannot read image {str(path)!r}: {first_line(error)}") from error


def size_of(path: Path) -> Size:
    """Read an image's size from its header."""
    with opened(path) as image:
        return image.height, image.width


def decode_rgb(path: Path) -> Image.Image:
    """Decode an image to RGB: of an animation the first picture, and upright as it is stored, EXIF or not.

    Pillow would cut numbers of more than 8 bits off at 255: those of 16 bits become 8 here, and what wider
    ones mean nobody knows.
    """
    with opened(path) as image:
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError("its pixels are 32 bits wide; save it with 8 or 16")
        return image.convert("RGB")


def decode_all(listing: Listing, size: Size | None) -> NDArray[np.uint8]:
    """Decode a split.

    Args:
        listing: its files.
        size: scale images to cover this and cut out the centre; None takes them as they are, all of one size.

    Returns:
        images_NCHW, C = 3.

    Raises:
        DataError: an image is unreadable, or has another size than the first one.
    """
    height, width = size or size_of(listing.path(0))
    images_NCHW = np.empty((len(listing.names), 3, height, width), dtype=np.uint8)

    def decode(position: int) -> None:
        path = listing.path(position)
        image = decode_rgb(path)
        if size:
            image = resize(image, height, width)
        elif image.size != (width, height):
            raise DataError(
                f"image {str(path)!r} is {image.height}x{image.width}, the first one {height}x{width}; "
                "give `image_size` to resize them all"
            )
        images_NCHW[position] = np.asarray(image).transpose(2, 0, 1)

    def decode_some(positions: range) -> None:
        for position in positions:
            decode(position)

    count = len(listing.names)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        list(pool.map(decode_some, (range(i, min(i + 256, count)) for i in range(0, count, 256))))
    return images_NCHW


def resize(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scale an image until it just covers height x width, and cut out the centre."""
    scale = max(height / image.height, width / image.width)
    scaled_width, scaled_height = (
        max(width, round(image.width * scale)),
        max(height, round(image.height * scale)),
    )
    scaled = image.resize((scaled_width, scaled_height), Image.Resampling.BILINEAR)
    left, top = (scaled_width - width) // 2, (scaled_height - height) // 2
    return scaled.crop((left, top, left + width, top + height))
