"""As narrow as the accuracy allows: the least budget at which no more than so many points are lost."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from torch import nn

from ..allocations.budget import Budget
from ..data import ImageData
from ..data.base import Batch
from ..data.some import some_batches, some_images
from ..devices import device_of
from ..errors import AllocationError, DataError
from ..events import Event, Note, unwatched
from ..measure.evaluation import evaluating_on
from ..measure.recalibrate import recalibrate
from ..narrowing.chooser import Chooser
from ..network.network import Network
from ..selection.selection import Scores
from .job import Pruning

HELD_BACK = 2048  # training images that nothing else looks at
FINEST = 1 / 64  # of the multiply-accumulates


def narrowest(
    pruning: Pruning, chooser: Chooser, scores: Scores, max_drop: float, recalibration: int
) -> Generator[Event, None, Chooser]:
    """Find the least multiply-accumulates at which accuracy falls by no more than `max_drop`, by bisection.

    Every trial cuts, and compensates or re-estimates batch norms, as the job will; accuracy is that on
    training images held back. The full network has been trained on them, a narrow one has not seen them: on
    new images the drop is usually smaller.

    Args:
        pruning: by a `Budget`, whose limits hold.
        chooser: of the network, with images.
        scores: of its filters.
        max_drop: points of top-1 accuracy.
        recalibration: batches to re-estimate batch norms on, where nothing is compensated.

    Yields:
        A `Note` for every trial, among others.

    Returns:
        The chooser with the budget that was found.

    Raises:
        DataError: there are no training images to hold back.
        AllocationError: not even a 64th may leave.
    """
    budget, network, data = chooser.allocation, chooser.network, chooser.data
    assert isinstance(budget, Budget)
    assert data is not None
    used = pruning.transfer.calibration or recalibration * chooser.batch_size
    size, of_them = chooser.batch_size, {"device": device_of(network.model), "seed": chooser.seed}
    held = list(_held_back(data, used, size, of_them))
    if not held:
        raise DataError(
            f"`max_drop` measures on training images that nothing else looks at, and of {data.size('train')} "
            f"the first {used} are taken; give `calibration` fewer"
        )
    images = sum(len(labels_N) for _, labels_N in held)
    whole = _top1(network, network.model, held)
    yield Note(f"{whole:.2f}% of {images} training images held back are right before anything leaves")
    found, failed = 1.0, 0.0
    while found - failed > FINEST:
        share = (found + failed) / 2
        choice = replace(chooser, allocation=replace(budget, flops=share), known=chooser.traced)
        try:
            thin = pruning.transfer.narrow(network, chooser.seen, choice.choice(network.model, scores))
        except AllocationError:
            failed = share
            continue
        if pruning.transfer.calibration:
            seen = some_images(data, pruning.transfer.calibration, batch_size=size, **of_them)
            thin = yield from pruning.transfer.mend(network, thin, seen)
        elif recalibration:
            recalibrate(thin.model, some_batches(data, recalibration, batch_size=size, **of_them))
        drop = whole - _top1(network, thin.model, held)
        yield Note(f"{share:.1%} of the MACs: {drop:+.2f} points lost there")
        found, failed = (share, failed) if drop <= max_drop else (found, share)
    if found == 1.0:
        raise AllocationError(
            f"with {FINEST:.1%} of the multiply-accumulates gone, more than {max_drop:g} points are lost; "
            "give `max_drop` more"
        )
    return replace(chooser, allocation=replace(budget, flops=found), known=chooser.traced)


def _held_back(data: ImageData, used: int, batch_size: int, of_them: Mapping[str, Any]) -> Iterator[Batch]:
    """Training images behind those that are used."""
    first, count = -(-used // batch_size), -(-HELD_BACK // batch_size)
    return islice(some_batches(data, first + count, batch_size=batch_size, **of_them), first, None)


def _top1(network: Network, model: nn.Module, batches: Iterable[Batch]) -> float:
    """Top-1 accuracy of `model`, which stands for `network`, percent."""
    return unwatched(evaluating_on(model, batches, network.num_classes)).top1
