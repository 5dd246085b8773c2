"""A job with everything at hand: found, opened and checked before anything is written."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...archs.errors import ArchError
from ..data import ImageData
from ..data.base import Batch
from ..data.some import some_batches, some_images
from ..devices import device_of, resolve_device
from ..errors import DataError, TrainingError
from ..events import Accuracy, Event
from ..graph.trace import Trace
from ..measure.evaluation import evaluating
from ..measure.recalibrate import recalibrate
from ..narrowing.chooser import Chooser
from ..narrowing.pruning import apart, wants_apart
from ..narrowing.thin import Thin
from ..network.files import load_network
from ..network.fresh import fresh_like
from ..network.matching import answering
from ..network.network import Network
from ..network.sources import load_for, random_network
from ..schedules import Ready
from ..training.config import TrainConfig
from .job import Job


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job with its network, images and teacher: nothing is left that could be missing.

    Attributes:
        network: as the job starts from it; of a job that prunes, on the job's device, and its streams apart
            where they are to get unequal widths.
        data: the images; None where nothing is trained or measured.
        schedule: ready to act on this network, where something leaves.
        skipped: why nothing is measured, where the network was measured once and its images are not there.
    """

    job: Job
    network: Network
    data: ImageData | None
    teacher: Network | None = None
    schedule: Ready | None = None
    skipped: str = ""

    @property
    def chooser(self) -> Chooser:
        """What chooses, of a job that prunes."""
        assert self.schedule is not None
        return self.schedule.chooser

    def choosing(self, **changes: Any) -> "Prepared":
        """The same job, whose chooser differs in these fields."""
        assert self.schedule is not None
        schedule = replace(self.schedule, chooser=replace(self.chooser, **changes))
        return replace(self, schedule=schedule)

    @property
    def measures(self) -> bool:
        """Are there images to measure accuracies on, of a network that has any?"""
        return self.data is not None and self.network.classifies

    @property
    def images(self) -> ImageData:
        """The images of a job that cannot do without."""
        assert self.data is not None
        return self.data

    def test(self, model: nn.Module) -> Generator[Event, None, Accuracy]:
        """Accuracy of a network on the test images."""
        size = self.job.config.eval_batch_size
        return (yield from evaluating(model, self.images, batch_size=size, device=device_of(model)))

    def training_batches(self, limit: int) -> Iterator[Batch]:
        """So many batches of training images, as they are, on the network's device."""
        config, device = self.job.config, device_of(self.network.model)
        return some_batches(self.images, limit, batch_size=config.batch_size, device=device, seed=config.seed)

    def training_images(self, wanted: int) -> Iterator[Tensor]:
        """The first so many of the same, without their labels."""
        config, device = self.job.config, device_of(self.network.model)
        return some_images(self.images, wanted, batch_size=config.batch_size, device=device, seed=config.seed)

    def mend(self, thin: Thin) -> Generator[Event, None, tuple[Thin, str | None]]:
        """Compensate a network that was cut, or re-estimate its batch norms.

        Returns:
            What came of it, and at which stage it is now; None where nothing was done.
        """
        transfer, recalibration = self.job.parts.transfer, self.job.recalibration
        if self.data is not None and transfer.calibration:
            images = self.training_images(transfer.calibration)
            return (yield from transfer.mend(self.network, thin, images)), "compensated"
        if self.data is not None and recalibration:
            recalibrate(thin.model, self.training_batches(recalibration))
            return thin, "recalibrated"
        return thin, None


def prepare(job: Job, network: Network | None = None, traced: Trace | None = None) -> Prepared:
    """Find everything a job needs, and check that it goes together.

    Args:
        job: what is to be done.
        network: the one that the job starts from, where it is loaded already.
        traced: its trace, where that is there already.

    Raises:
        EngineError, ArchError, WeightsError: the first thing that is missing or does not fit.
        AllocationError: what is to leave cannot, or is nothing.
    """
    config = job.config if isinstance(job.config, TrainConfig) else None
    network, data, skipped = _start(job, network)
    teacher = None
    if job.teacher is not None:
        assert data is not None  # who trains has images
        teacher = _teacher(job, job.teacher, network, data)
    for loaded in filter(None, (network, teacher)) if config else ():
        _require_finite(loaded)
    if (config or job.max_drop is not None) and not network.classifies:
        raise TrainingError(
            f"'{network.origin}' returns no row of logits per image; only classifiers are trained and "
            "measured here: train others with your own loop, measure them by `prune.evaluate` with a `metric`"
        )
    if job.pruning is None:
        return Prepared(job, network, data, teacher)
    network.model.to(resolve_device(job.config.device))
    chooser = Chooser(
        network=network,
        allocation=job.pruning.allocation,
        scoring=job.pruning.scoring,
        data=data,
        batch_size=job.config.batch_size,
        seed=job.config.seed,
        known=traced,
    )
    if wants_apart(network, chooser.wanted, chooser.traced):
        chooser = replace(chooser, network=apart(network), known=None)
    schedule = job.pruning.schedule.ready(chooser, config, data)
    return Prepared(job, chooser.network, data, teacher, schedule, skipped)


def _start(job: Job, network: Network | None) -> tuple[Network, ImageData | None, str]:
    """The network, and the images that go with it, or why there are none."""
    images, seed = job.images, job.config.seed
    if job.like is not None:
        network = load_network(job.like, job.arch, input_size=images.image_size)
        if job.num_classes not in (None, network.num_classes):
            raise DataError(
                f"`num_classes` {job.num_classes}, but '{job.like}' tells {network.num_classes} apart; "
                "leave that out"
            )
        network = fresh_like(network, seed)
    elif network is None and job.start is not None:
        network = load_for(images, job.start, job.arch)
    if network is None:
        return *random_network(job.arch, images, num_classes=job.num_classes, seed=seed), ""
    needed = _needs_images(job, network) or images.named
    if not needed and not images.named_for(network):
        return network, None, ""
    try:
        return network, images.open(network), ""
    except DataError as error:
        if needed:
            raise
        return network, None, str(error)  # where it was measured once is a hint


def _teacher(job: Job, path: Path, network: Network, data: ImageData) -> Network:
    """The network that teaches this one."""
    try:
        teacher = load_network(path, job.teacher_arch, input_size=job.images.image_size, beside=network)
    except ArchError as error:  # `arch` is the pupil's
        raise ArchError(str(error).replace("`arch`", "`teacher_arch`")) from error
    return answering(teacher, data, by_position=job.images.classes_by_position)


def _needs_images(job: Job, network: Network) -> bool:
    """Does it train, or can nothing be chosen, or weights be solved for, without?

    Raises:
        DataError: weights are to be solved for on images, and nobody says which.
    """
    if isinstance(job.config, TrainConfig):
        return True
    assert job.pruning is not None
    if job.pruning.transfer.calibration or job.max_drop is not None:
        if not job.images.named_for(network):
            who = "compensate" if job.max_drop is None else "max_drop"
            raise DataError(f"`{who}` looks at training images; say which with `dataset` or `data_dir`")
        return True
    return job.pruning.allocation.needs_scores and job.pruning.scoring.needs_images


def _require_finite(network: Network) -> None:
    """Refuse a network that no training could mend.

    Raises:
        TrainingError: names the first tensor with NaN or infinity in it.
    """
    for name, tensor in network.model.state_dict().items():
        if not tensor.isfinite().all():
            raise TrainingError(
                f"'{network.origin}' holds NaN or infinity, the first in '{name}'; train from another"
            )
