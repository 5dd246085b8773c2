"""How good a network is, and its batch norms re-estimated."""

from collections.abc import Callable, Sized
from typing import Any, overload

import torch

from ..data import ImageData
from ..devices import device_of
from ..errors import DataError
from ..events import Accuracy
from ..measure import evaluation
from ..measure import recalibrate as norms
from ..modules.eval_mode import eval_mode
from ..modules.inputs import answer
from ..narrowing.outcome import Outcome
from ..network.batches import Images, batches_of
from ..network.matching import matched
from ..network.network import Network
from .keywords import named
from .networks import network_of
from .progress import seen_through

Metric = Callable[[Any, Any], Any]


@named
def recalibrate(
    network: Network | Outcome,
    images: Images,
    *,
    limit: int | None = 20,
    batch_size: int = 128,
    seed: int = 0,
) -> int:
    """Re-estimate the statistics of all batch norms, in place: narrower inputs have others.

    Args:
        network: its model changes.
        images: as `rank` takes them; labels are not looked at.
        limit: batches to look at; None for all.
        batch_size: of data sets and lone tensors.
        seed: of the order of a data set.

    Returns:
        How many batch norms there are.

    Raises:
        DataError: no images, or they do not go with the network.
    """
    network = network_of(network)
    batches = batches_of(images, network, limit=limit, batch_size=batch_size, seed=seed)
    return norms.recalibrate(network.model, batches)


@overload
def evaluate(
    network: Network | Outcome, images: Images, *, batch_size: int = 256, progress: bool = False
) -> Accuracy: ...


@overload
def evaluate(
    network: Network | Outcome,
    images: Images,
    *,
    metric: Metric,
    batch_size: int = 256,
    progress: bool = False,
) -> float: ...


@named
def evaluate(
    network: Network | Outcome,
    images: Images,
    *,
    metric: Metric | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> Accuracy | float:
    """Top-1, top-5 (from 10 classes up) and loss; or the mean of a measure of your own.

    Args:
        network: left as it is.
        images: a data set, whose test images are taken, or any iterable of (images_NCHW, labels_N), or of
            what the network takes, as for `rank`.
        metric: a function of what the network returns and of its targets (what came with the images; of a
            network that takes something else, the whole item) to one number, the mean over the samples.
        batch_size: of a data set; a loader has its own.
        progress: show how far it is.

    Raises:
        DataError: network and images do not go together, or there are no images, or no labels; or the
            network returns no logits, and there is no `metric`.
    """
    network = network_of(network)
    if metric is not None:
        return _mean(network, images, metric, batch_size)
    if not network.classifies:
        raise DataError(
            "this network returns no row of logits per image, so that it has no top-1: give `metric`, a "
            "function of what it returns and of its targets"
        )
    if isinstance(images, ImageData):
        device = device_of(network.model)
        data = matched(network, images)
        work = evaluation.evaluating(network.model, data, batch_size=batch_size, device=device)
    else:
        total = len(images) if isinstance(images, Sized) else 0
        batches = batches_of(images, network)
        work = evaluation.evaluating_on(network.model, batches, network.num_classes, total=total)
    return seen_through(work, progress)


@torch.no_grad()
def _mean(network: Network, images: Images, metric: Metric, batch_size: int) -> float:
    """The mean of a measure over all samples."""
    batches = batches_of(images, network, batch_size=batch_size)
    if isinstance(images, ImageData):
        device = device_of(network.model)
        batches = matched(network, images).batches("test", batch_size, device=device)
    total, samples = 0.0, 0
    with eval_mode(network.model):
        for given, targets in batches:
            total += float(metric(answer(network.model, given), targets)) * len(given)
            samples += len(given)
    if not samples:
        raise DataError("there are no images to measure on")
    return total / samples
