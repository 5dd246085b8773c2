"""So many training images, as they are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..processes import distributed
from .base import Batch, ImageData


def some_batches(
    data: ImageData, limit: int | None, *, batch_size: int, device: torch.device, seed: int
) -> Iterator[Batch]:
    """This process's share of the first batches of a shuffled training set, unaugmented.

    Args:
        data: the images.
        limit: how many batches; None is all.
        batch_size: images per batch, over all processes.
        device: where they go.
        seed: of their order.

    Yields:
        images_NCHW and labels_N.
    """
    return data.batches(
        "train",
        distributed.share_of(batch_size),
        device=device,
        shuffle_seed=seed,
        limit=limit,
        shard=distributed.shard(),
    )


def some_images(
    data: ImageData, wanted: int, *, batch_size: int, device: torch.device, seed: int
) -> Iterator[Tensor]:
    """This process's share of the first images of a shuffled training set, unaugmented, without labels.

    Args:
        data: the images.
        wanted: how many, in all processes; fewer where there are no more.
        batch_size: images per batch, over all processes.
        device: where they go.
        seed: of their order.

    Yields:
        images_NCHW.
    """
    batches = some_batches(data, -(-wanted // batch_size), batch_size=batch_size, device=device, seed=seed)
    left = -(-wanted // distributed.processes())
    for images_NCHW, _ in batches:
        yield images_NCHW[:left]
        left -= len(images_NCHW[:left])
