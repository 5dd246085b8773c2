"""How good a network is, and its batch norms re-estimated."""

from collections.abc import Sized

from ..data import ImageData
from ..devices import device_of
from ..events import Accuracy
from ..measure import evaluation
from ..measure import recalibrate as norms
from ..narrowing.outcome import Outcome
from ..network.batches import Images, batches_of
from ..network.matching import matched
from ..network.network import Network
from .keywords import named
from .networks import network_of
from .progress import seen_through


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


@named
def evaluate(
    network: Network | Outcome, images: Images, *, batch_size: int = 256, progress: bool = False
) -> Accuracy:
    """Top-1, top-5 (from 10 classes up) and loss.

    Args:
        network: left as it is.
        images: a data set, whose test images are taken, or any iterable of (images_NCHW, labels_N).
        batch_size: of a data set; a loader has its own.
        progress: show how far it is.

    Raises:
        DataError: network and images do not go together, or there are no images, or no labels.
    """
    network = network_of(network)
    if isinstance(images, ImageData):
        device = device_of(network.model)
        data = matched(network, images)
        work = evaluation.evaluating(network.model, data, batch_size=batch_size, device=device)
    else:
        total = len(images) if isinstance(images, Sized) else 0
        batches = batches_of(images, network)
        work = evaluation.evaluating_on(network.model, batches, network.num_classes, total=total)
    return seen_through(work, progress)
