"""How many steps a pass over the training images takes."""

from ..data.base import ImageData
from ..processes import distributed


def steps_per_epoch(data: ImageData, batch_size: int) -> int:
    """The steps of one epoch, each on `batch_size` images, which all processes share."""
    return data.count_batches("train", distributed.share_of(batch_size), shard=distributed.shard())
