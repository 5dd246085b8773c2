"""One interface for labelled images, whatever they come from."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

import torch
from torch import Tensor

from ..errors import DataError
from .keys import sample_keys, shuffled

Batch = tuple[Tensor, Tensor]
SPLITS = ("train", "test")


@dataclass(frozen=True)
class DataInfo:
    """What is known about a data set.

    Attributes:
        class_names: one per class, in the order of the labels.
        input_size: (channels, height, width) of the images as networks get them.
        mean: what is subtracted per channel, of values in [0, 1].
        std: what is divided by afterwards.
        folder: where they lie, if somebody has said it; absolute.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    folder: str | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """The images of one batch: positions in the split and, if they are to be augmented, one key each."""

    indices: Tensor
    keys: Tensor | None


class ImageData(ABC):
    """Labelled images in two splits, `train` and `test`."""

    def __init__(self, info: DataInfo) -> None:
        """Sources call this with what they found out."""
        self.info = info
        self._passes = 0
        self._label_of_K: Tensor | None = None  # per class as the source counts them, its label

    @property
    def renumbered(self) -> bool:
        """Do the classes have other numbers than in the source?"""
        return self._label_of_K is not None

    def with_classes(self, class_names: Sequence[str], label_of: Sequence[int]) -> Self:
        """The same images, sharing their memory, with other labels.

        Args:
            class_names: in the order of the new labels.
            label_of: per class as it is now, its new label.
        """
        changed = copy.copy(self)
        changed.info = replace(self.info, class_names=tuple(class_names))
        now_K, new_K = torch.arange(self.info.num_classes), torch.tensor(label_of)
        label_of_K = new_K[now_K if self._label_of_K is None else self._label_of_K]
        changed._label_of_K = None if torch.equal(label_of_K, now_K) else label_of_K
        return changed

    @abstractmethod
    def size(self, split: str) -> int:
        """The number of images of a split."""

    def fingerprint(self) -> str | None:
        """A digest that tells these images from others; None for data sets that are always the same."""
        return None

    @abstractmethod
    def _read(self, split: str, requests: Sequence[Request], device: torch.device) -> Iterator[Batch]:
        """Yield uint8 images_NCHW, augmented where there are keys, and int64 labels_N, both on the device."""

    def __iter__(self) -> Iterator[Batch]:
        """The training images once, as they are, in batches of 128: a new order each time."""
        self._passes += 1
        return self.batches("train", 128, shuffle_seed=0, epoch=self._passes - 1)

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        device: str | torch.device = "cpu",
        augment: bool = False,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        limit: int | None = None,
        shard: tuple[int, int] = (0, 1),
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterator[Batch]:
        """Read a split once.

        The order depends on the seed and the epoch alone, the augmentation of an image on these two and its
        position in the split, and neither on batch size, shards or device. The last batch may be short. In
        `test`, every image is read exactly once. In `train`, all shards get equally many images (a remainder
        sits out this epoch) and a last batch of one image is dropped: batch normalisation cannot train on it.

        Args:
            split: `train` or `test`.
            batch_size: images per batch and shard.
            augment: crop and flip at random, as the source does.
            shuffle_seed: None for the order of the source, augmented as with seed 0.
            epoch: counts from 0.
            limit: stop after so many batches.
            shard: (this process, number of processes); images are dealt out in turn.

        Returns:
            an iterator over (images_NCHW, labels_N): normalised float32 and int64.

        Raises:
            DataError: no such split, no positive batch size, or, while reading, an unreadable image.
        """
        requests = self._requests(split, batch_size, shuffle_seed, epoch, augment, limit, shard)
        return self._normalised(self._read(split, requests, torch.device(device)), memory_format)

    def count_batches(
        self, split: str, batch_size: int, *, limit: int | None = None, shard: tuple[int, int] = (0, 1)
    ) -> int:
        """How many batches `batches` yields for these arguments."""
        return len(self._requests(split, batch_size, None, 0, False, limit, shard))

    def _requests(
        self,
        split: str,
        batch_size: int,
        shuffle_seed: int | None,
        epoch: int,
        augment: bool,
        limit: int | None,
        shard: tuple[int, int],
    ) -> list[Request]:
        if split not in SPLITS:
            raise DataError(f"no split {split!r}; there are 'train' and 'test'")
        if batch_size < 1:
            raise DataError(f"batch size {batch_size}; it must be at least 1")
        size, (rank, processes) = self.size(split), shard
        order_N = torch.arange(size) if shuffle_seed is None else shuffled(size, shuffle_seed, epoch)
        mine_N = order_N[rank::processes]
        if split == "train":
            mine_N = mine_N[: size // processes]
            if len(mine_N) % batch_size == 1 and batch_size > 1:
                mine_N = mine_N[:-1]
        chunks = islice(mine_N.split(batch_size) if len(mine_N) else (), limit)
        return [Request(c, sample_keys(shuffle_seed or 0, epoch, c) if augment else None) for c in chunks]

    def _normalised(self, batches: Iterator[Batch], memory_format: torch.memory_format) -> Iterator[Batch]:
        mean_C11, std_C11 = (
            torch.tensor(values)[:, None, None] for values in (self.info.mean, self.info.std)
        )
        scale_C11, shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
        for images_NCHW, labels_N in batches:
            device = images_NCHW.device
            scale_C11, shift_C11 = scale_C11.to(device), shift_C11.to(device)
            floats_NCHW = images_NCHW.to(torch.float32, memory_format=memory_format)
            if self._label_of_K is not None:
                labels_N = self._label_of_K.to(device)[labels_N]
            yield floats_NCHW.mul_(scale_C11).add_(shift_C11), labels_N
