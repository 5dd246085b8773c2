"""As narrow as the accuracy allows: the least budget at which no more than so many points are lost."""

from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import islice

from torch import nn

from ..allocations.budget import Budget
from ..data.base import Batch
from ..errors import AllocationError, DataError
from ..events import Event, Note, unwatched
from ..measure.evaluation import evaluating_on
from ..narrowing.chooser import Chooser
from ..network.network import Network
from ..selection.selection import Scores
from .prepare import Prepared

HELD_BACK = 2048  # training images that nothing else looks at
FINEST = 1 / 64  # of the multiply-accumulates


def narrowest(ready: Prepared, scores: Scores, max_drop: float) -> Generator[Event, None, Chooser]:
    """Find the least multiply-accumulates at which accuracy falls by no more than `max_drop`, by bisection.

    Every trial cuts, and compensates or re-estimates batch norms, as the job will; accuracy is that on
    training images held back. The full network has been trained on them, a narrow one has not seen them: on
    new images the drop is usually smaller.

    Args:
        ready: a job that prunes by a `Budget`, whose limits hold, with images.
        scores: of the network's filters.
        max_drop: points of top-1 accuracy.

    Yields:
        A `Note` for every trial, among others.

    Returns:
        The job's chooser with the budget that was found.

    Raises:
        DataError: there are no training images to hold back.
        AllocationError: not even a 64th may leave.
    """
    chooser, network, transfer = ready.chooser, ready.network, ready.job.parts.transfer
    budget = chooser.allocation
    assert isinstance(budget, Budget)
    used = transfer.calibration or ready.job.recalibration * chooser.batch_size
    first, count = -(-used // chooser.batch_size), -(-HELD_BACK // chooser.batch_size)  # in batches
    held = list(islice(ready.training_batches(first + count), first, None))
    if not held:
        raise DataError(
            "`max_drop` measures on training images that nothing else looks at, and of "
            f"{ready.images.size('train')} the first {used} are taken; give `calibration` fewer"
        )
    images = sum(len(labels_N) for _, labels_N in held)
    whole = _top1(network, network.model, held)
    yield Note(f"{whole:.2f}% of {images} training images held back are right before anything leaves")
    found, failed = 1.0, 0.0
    while found - failed > FINEST:
        share = (found + failed) / 2
        trial = replace(chooser, allocation=replace(budget, flops=share), known=chooser.traced)
        try:
            thin = transfer.narrow(network, chooser.seen, trial.choice(network.model, scores))
        except AllocationError:
            failed = share
            continue
        thin, _ = yield from ready.mend(thin)
        drop = whole - _top1(network, thin.model, held)
        yield Note(f"{share:.1%} of the MACs: {drop:+.2f} points lost there")
        found, failed = (share, failed) if drop <= max_drop else (found, share)
    if found == 1.0:
        raise AllocationError(
            f"with {FINEST:.1%} of the multiply-accumulates gone, more than {max_drop:g} points are lost; "
            "give `max_drop` more"
        )
    return replace(chooser, allocation=replace(budget, flops=found), known=chooser.traced)


def _top1(network: Network, model: nn.Module, batches: Iterable[Batch]) -> float:
    """Top-1 accuracy of `model`, which stands for `network`, percent."""
    return unwatched(evaluating_on(model, batches, network.num_classes)).top1
