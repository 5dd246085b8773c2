"""Images that fit in memory: gathered, cropped and flipped a batch at a time, on the device that trains."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, DataInfo, ImageData, Request
from .keys import COLUMN, FLIP, ROW, draw
from .listing import Listing, fingerprint_of


class MemoryData(ImageData):
    """Images held as one uint8 tensor per split; on first use by another device, a copy stays there."""

    def __init__(
        self,
        info: DataInfo,
        images: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        *,
        crop_padding: int,
        flip: bool,
        listings: Mapping[str, Listing] | None = None,
    ) -> None:
        """Take the images as they are.

        Args:
            info: what is known about them.
            images: per split, images_NCHW, uint8.
            labels: per split, labels_N, int64.
            crop_padding: how many black pixels around an image a random crop may reach into.
            flip: whether a mirror image means the same.
            listings: per split, the files that the images are from, if they are the user's.
        """
        super().__init__(info)
        self._images, self._labels = images, labels
        self._crop_padding, self._flip = crop_padding, flip
        self._listings = listings
        self._copies: dict[tuple[str, torch.device], Batch] = {}

    def size(self, split: str) -> int:
        """The number of images of a split."""
        return len(self._labels[split])

    def fingerprint(self) -> str | None:
        """See `ImageData`."""
        return None if self._listings is None else fingerprint_of(self._listings)

    def _read(self, split: str, requests: Sequence[Request], device: torch.device) -> Iterator[Batch]:
        all_images, all_labels = self._on(split, device)
        for request in requests:
            indices_N = request.indices.to(device)
            images_NCHW, labels_N = all_images[indices_N], all_labels[indices_N]
            if request.keys is not None:
                keys_N = request.keys.to(device)
                images_NCHW = random_crop(images_NCHW, keys_N, self._crop_padding)
                if self._flip:
                    images_NCHW = random_flip(images_NCHW, keys_N)
            yield images_NCHW, labels_N

    def _on(self, split: str, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self._images[split], self._labels[split]
        if (split, device) not in self._copies:
            self._copies[split, device] = self._images[split].to(device), self._labels[split].to(device)
        return self._copies[split, device]


def random_crop(images_NCHW: Tensor, keys_N: Tensor, padding: int) -> Tensor:
    """Shift every image by up to `padding` pixels each way and fill with zeros, uniformly by its key."""
    height, width = images_NCHW.shape[2:]
    padded = F.pad(images_NCHW, (padding,) * 4)
    windows_NCYXHW = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: every crop there is
    rows_N = draw(keys_N, ROW, below=2 * padding + 1)
    columns_N = draw(keys_N, COLUMN, below=2 * padding + 1)
    return windows_NCYXHW[torch.arange(len(keys_N), device=keys_N.device), :, rows_N, columns_N]


def random_flip(images_NCHW: Tensor, keys_N: Tensor) -> Tensor:
    """Mirror every other image, left to right, by its key."""
    mirrored_N = draw(keys_N, FLIP, below=2).bool()
    return torch.where(mirrored_N[:, None, None, None], images_NCHW.flip(3), images_NCHW)
