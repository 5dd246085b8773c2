"""From what `prune prune` was asked for to the four parts of a method."""

from dataclasses import replace

import typer

from ..engine import schedules
from ..engine.allocations import required
from ..engine.allocations.budget import Budget
from ..engine.graph.trace import Trace, trace
from ..engine.jobs.job import Job, Pruning
from ..engine.jobs.stored import own
from ..engine.network.sources import Source
from ..engine.scores.scoring import Scoring
from ..engine.selection.allocation import Allocation
from ..engine.training.config import TrainConfig
from ..engine.transfers.slice import Slice
from . import options as opt
from . import units
from .prune_asked import Asked
from .spelling import option


def selecting(asked: Asked) -> Pruning:
    """Filters that are selected by score, at once or while the network trains.

    Raises:
        typer.BadParameter: options without effect.
        EngineError: see `Amount.allocation`.
    """
    allocation, searched = asked.amount.allocation(), asked.approach.max_drop is not None
    if allocation is not None and searched:
        raise typer.BadParameter(f"--max-drop and {allocation.way} exclude each other; give one of them")
    if allocation is None:
        if not searched:
            asked.show.note("nothing says how much is to leave: keeping half of the MACs (--flops 0.5)")
        share = 1.0 if searched else 0.5  # which is yet to be found out, or usual
        allocation = required({**asked.amount.settings(), "flops": share})
    scored = [name for name in ("criterion", "scores") if getattr(asked.scoring, name)]
    if len(scored) > 1:
        raise typer.BadParameter("--criterion and --scores exclude each other")
    if scored and not allocation.needs_scores:
        raise typer.BadParameter(
            f"{option(scored[0])} has no effect with {allocation.way}; leave out one of them"
        )
    if not _is_open(asked, allocation):
        _refuse_unused(asked.compensation, "without --compensate; leave it out")
    return Pruning(
        allocation=allocation,
        scoring=Scoring(**asked.scoring.settings()),
        schedule=own(schedules.get(asked.schedule.schedule), asked.schedule.settings()),
        transfer=asked.compensation.transfer() if asked.compensation.compensate else Slice(),
    )


def sketching(asked: Asked, context: typer.Context) -> Pruning:
    """Filters that are replaced by a sketch of them.

    Raises:
        typer.BadParameter: no rates.
        AllocationError: rates that cannot be read, or a residual mode that makes no sense here.
    """
    from ..engine.sketching.rates import SketchRates
    from ..engine.transfers.sketch import Sketch

    said = asked.heard(asked.amount).settings()
    if "keep_rate" not in said:
        raise typer.BadParameter("--method sketch needs --keep-rate, such as '[0.6]*27'", ctx=context)
    if asked.schedule.start_conv is not None:
        said["start_conv"] = asked.schedule.start_conv
    said["skip"] = tuple(said.get("skip", ()))
    return Pruning(allocation=SketchRates(**said), transfer=Sketch(**asked.sketching.settings()))


def emptying(asked: Asked, input_size: tuple[int, ...]) -> tuple[Pruning, TrainConfig]:
    """Compactors that lose rows: the authors' settings for images of that size, but for what the options say.

    Raises:
        EngineError: settings that no training could follow.
    """
    from ..engine.schedules.gradient_resetting import GradientResetting, published
    from ..engine.transfers.fold import Fold

    config, flops = published(input_size)
    machines = {"seed": asked.machines.seed, "device": asked.machines.device}
    pruning = Pruning(
        allocation=required({"flops": flops, **asked.heard(asked.amount).settings()}),
        schedule=GradientResetting(**asked.masks.settings()),
        transfer=Fold(),
    )
    return pruning, replace(config, **asked.heard(asked.training).settings(), **machines)


def training_of(asked: Asked) -> TrainConfig:
    """How the network trains while filters leave; without --epochs, as long as the authors train."""
    return asked.training.config(
        epochs=15 if asked.way == "layer-by-layer" else 200,
        lr=0.1 if asked.schedule.scratch else 0.01,
        seed=asked.machines.seed,
        device=asked.machines.device,
    )


def measuring(asked: Asked, job: Job, source: Source) -> tuple[Job, Trace | None, str]:
    """Where a budget is all that was said, and there are images: the network itself says what leaves it.

    Returns:
        The job for this network; its trace, where that was needed; and what is to be said of it once it is
        clear that it can be done.

    Raises:
        typer.BadParameter: images for a compensation that nobody will do.
    """
    if not _is_open(asked, job.parts.allocation):
        return job, None, ""
    if not source.trained or not job.images.at_hand(source.network):
        _refuse_unused(asked.compensation, "without images; say which with --data-dir")
        note = (
            "filters leave by l1, which looks at weights alone; a trained network and images (--data-dir or "
            "--dataset) keep much more of the accuracy"
        )
        return job, None, note
    from ..engine.jobs.measured import measured

    network, transfer = source.network, asked.compensation.transfer()
    traced = trace(network.model, network.takes)
    job, images, seconds = measured(job, transfer, network, traced)
    how = "estimated" if job.parts.scoring.criterion == "obs" else "measured"
    again = f", in each of {job.steps} steps" if job.steps > 1 else ""
    note = (
        f"no --criterion: what every width costs is {how} on {images} training images, and what stays is "
        f"compensated on {transfer.images}{again}: about {units.duration(job.steps * seconds)}; "
        "--criterion l1 leaves that out"
    )
    return job, traced, note


def _is_open(asked: Asked, allocation: Allocation) -> bool:
    """Is a budget all that was said of how filters are to be chosen, at once?"""
    scoring, amount, network = asked.scoring, asked.amount, asked.network
    said = scoring.criterion or scoring.scores or amount.ranking or network.recipe
    return asked.way == "one-shot" and not said and isinstance(allocation, Budget)


def _refuse_unused(compensation: opt.Compensation, why: str) -> None:
    """Refuse to hear how weights are to be compensated, where nobody asked that they are."""
    for name in () if compensation.compensate else compensation.details:
        raise typer.BadParameter(f"{option(name)} has no effect {why}")
