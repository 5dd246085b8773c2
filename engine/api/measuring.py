"""How good a network is, and its batch norms re-estimated."""

from ..data import ImageData
from ..devices import device_of
from ..events import Accuracy
from ..measure import evaluation
from ..measure import recalibrate as norms
from ..narrowing.outcome import Outcome
from ..network.batches import Images, batches_of
from ..network.matching import matched
from ..network.network import Network
from .networks import network_of


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


def evaluate(network: Network | Outcome, data: ImageData, *, batch_size: int = 256) -> Accuracy:
    """Top-1, top-5 (from 10 classes up) and loss on the test images of a data set.

    Raises:
        DataError: network and images do not go together.
    """
    network = network_of(network)
    data = matched(network, data)
    return evaluation.evaluate(network.model, data, batch_size=batch_size, device=device_of(network.model))
