"""So many training images, without their labels."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..processes import distributed
from .base import ImageData


def some_images(
    data: ImageData, wanted: int, *, batch_size: int, device: torch.device, seed: int
) -> Iterator[Tensor]:
    """This process's share of the first images of a shuffled training set, unaugmented.

    Args:
        data: the images.
        wanted: how many, in all processes; fewer where there are no more.
        batch_size: images per batch, over all processes.
        device: where they go.
        seed: of their order.

    Yields:
        images_NCHW.
    """
    batches = data.batches(
        "train",
        distributed.share_of(batch_size),
        device=device,
        shuffle_seed=seed,
        limit=-(-wanted // batch_size),
        shard=distributed.shard(),
    )
    left = -(-wanted // distributed.processes())
    for images_NCHW, _ in batches:
        yield images_NCHW[:left]
        left -= len(images_NCHW[:left])
