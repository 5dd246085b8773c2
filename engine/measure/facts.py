"""What was measured of a network, kept with it."""

from dataclasses import replace

from ..data import DataInfo
from ..events import Accuracy
from ..network.network import Network


def measured(network: Network, accuracy: Accuracy, info: DataInfo) -> Network:
    """The network with what was measured of it, and with its images' normalisation and class names."""
    facts = {"top1": accuracy.top1, "top5": accuracy.top5, "loss": accuracy.loss, "images": accuracy.images}
    where = {"data_dir": info.folder} if info.folder else {}
    return replace(
        network,
        accuracy={**facts, "dataset": info.name, **where},
        normalization={"mean": list(info.mean), "std": list(info.std)},
        class_names=tuple(info.class_names),
    )
