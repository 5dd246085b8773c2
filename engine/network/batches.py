"""Batches of images out of whatever holds some: a data set, a loader, a list, one tensor."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..data import ImageData
from ..data.base import Batch
from ..devices import first_weight
from ..errors import DataError
from ..modules.inputs import Call, Inputs
from .matching import matched
from .network import Network

Images = ImageData | Tensor | Iterable[Any]


def batches_of(
    images: Images, network: Network, *, limit: int | None = None, batch_size: int = 128, seed: int = 0
) -> Iterator[tuple[Any, Any]]:
    """Batches for a network, on the device and in the number format of its weights.

    Of a network that takes something else than images, every item is what it is called with, as `prune.wrap`
    takes an example of it, and comes back with what it was made of in the place of labels.

    Args:
        images: normalised as the network wants them: images_NCHW, or what yields images_NCHW or tuples that
            begin with (images_NCHW, labels_N), as a DataLoader does; or a data set, whose training images
            are read shuffled.
        limit: at most so many batches.
        batch_size: of data sets and lone tensors; a loader has its own.
        seed: of the order of a data set.

    Returns:
        (images_NCHW, labels_N); without labels, labels_N is empty.

    Raises:
        DataError: on the way, images that are not floats, or not of the size that the network takes.
    """
    like = first_weight(network.model)
    if isinstance(images, ImageData):
        data = matched(network, images)
        batches = data.batches("train", batch_size, device=like.device, shuffle_seed=seed, limit=limit)
    elif network.inputs is not None:
        yield from _calls(images, network, limit)
        return
    else:
        chunks = images.split(batch_size) if isinstance(images, Tensor) and images.dim() == 4 else images
        batches = (_batch(item, network) for item in islice(chunks, limit))
    for images_NCHW, labels_N in batches:
        yield images_NCHW.to(like), _there(labels_N, like)


def _calls(images: Any, network: Network, limit: int | None) -> Iterator[tuple[Call, Any]]:
    """The calls in `images`, each with what it was made of."""
    like = first_weight(network.model)
    for item in islice([images] if isinstance(images, Tensor | tuple | Mapping) else images, limit):
        args, kwargs = ((), item) if isinstance(item, Mapping) else (item, {})
        args = args if isinstance(args, tuple) else (args,)
        samples = Inputs.like(args, kwargs).batch
        yield Call(args, kwargs, samples).to(like), _there(item, like)


def _there(labels: Any, like: Tensor) -> Any:
    """Labels, or any tree of them, in the place of a weight."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(like.device), labels)


def _batch(item: Any, network: Network) -> Batch:
    images_NCHW, *rest = item if isinstance(item, tuple | list) and item else (item,)
    labels_N = rest[0] if rest else torch.empty(0, dtype=torch.int64)
    if not isinstance(images_NCHW, Tensor) or (network.classifies and not isinstance(labels_N, Tensor)):
        kinds = " and ".join(type(part).__name__ for part in (images_NCHW, *rest[:1]))
        raise DataError(f"a batch is made of {kinds}; give tensors, images_NCHW or (images_NCHW, labels_N)")
    shape, wanted = tuple(images_NCHW.shape), tuple(network.input_size)
    if shape[1:] != wanted:
        raise DataError(
            f"a batch has shape {shape}; this network takes (images, {', '.join(map(str, wanted))})"
        )
    if not images_NCHW.is_floating_point():
        raise DataError(
            f"a batch is of {images_NCHW.dtype}; give floats, normalised as the network was trained on them"
        )
    return images_NCHW, labels_N
