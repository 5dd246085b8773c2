"""From the options of `prune prune` to the four parts of a method."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as opt
from . import units
from .show import Out
from .typed import option, typed

if TYPE_CHECKING:
    from ..engine.graph.trace import Trace
    from ..engine.jobs.job import Pruning
    from ..engine.network.sources import Source
    from ..engine.selection.allocation import Allocation
    from ..engine.training.config import TrainConfig
    from ..engine.transfers import Transfer

EVERYWHERE = (
    *("file", "arch", "method", "schedule", "skip", "residual", "recipe", "dry_run"),
    *("dataset", "data_dir", "download", "image_size", "batch_size", "eval_batch_size", "workers"),
    "classes_by_position",
    *("device", "threads", "seed", "out", "resume", "anyway", "force", "json", "quiet"),
)
SELECT = tuple(field.name for group in (opt.ScoringOrScores, opt.RankedAmount) for field in fields(group))
TRAINING = tuple(field.name for field in fields(opt.Training))
SKETCH_AMOUNT = ("keep_rate", "residual", "skip")
RESREP_AMOUNT = ("flops", "residual", "skip")
RESREP_TRAINING = ("epochs", "lr", "weight_decay", "no_augment", "precision", "layout", "sync_bn")
IN_TRAINING = (*SELECT, *TRAINING, "nproc", "num_classes")
HEARD = {
    "--schedule one-shot": (
        *SELECT,
        *("plan_out", "recalibrate", "num_classes", "part", "through_norms", "head_dims"),
        *("max_drop", "steps", "compensate", "calibration", "fit_blocks", "finetune"),
    ),
    "--schedule layer-by-layer": (*IN_TRAINING, "start_conv"),
    "--schedule soft": (*IN_TRAINING, "prune_every", "scratch"),
    "--schedule hard": (*IN_TRAINING, "prune_every", "scratch"),
    "--method sketch": ("keep_rate", "procedure", "weight_norm", "start_conv", "recalibrate", "finetune"),
    "--method resrep": ("flops", *(f.name for f in fields(opt.Masks)), *RESREP_TRAINING, "nproc"),
}


@dataclass(frozen=True, kw_only=True)
class Asked(opt.Group):
    """Everything that one `prune prune` was asked for."""

    file: opt.OptionalFile = None
    network: opt.Network
    part: opt.Part = None
    through_norms: opt.ThroughNorms = False
    head_dims: opt.HeadDims = False
    method: opt.Method = "select"
    schedule: opt.Schedule
    scoring: opt.ScoringOrScores
    amount: opt.RankedAmount
    max_drop: Annotated[opt.MaxDrop, opt.After("params")] = None
    steps: Annotated[opt.Steps, opt.After("max_drop")] = 1
    plan_out: opt.PlanOut = None
    sketching: opt.Sketching
    compensation: opt.Compensation
    finetune: opt.Finetune = None
    recalibrate: opt.Recalibrate = 20
    images: opt.Images
    num_classes: opt.NumClasses = None
    masks: opt.Masks
    training: opt.Training
    machines: opt.Machines
    folder: opt.FileOrRunFolder
    output: opt.Work

    @cached_property
    def show(self) -> Out:
        """Where it is shown."""
        return self.output.show()

    @property
    def trains(self) -> bool:
        """Do filters leave while the network trains?"""
        return self.method == "resrep" or (self.method == "select" and self.schedule.schedule != "one-shot")

    @property
    def way(self) -> str:
        """What a run of it is called after."""
        return self.schedule.schedule if self.method == "select" else self.method


def check_way(context: typer.Context, method: str, schedule: str) -> None:
    """Refuse options that the method or schedule does not listen to.

    Of a training that follows, all options but its length are heard.

    Raises:
        typer.BadParameter: names the first one that was typed.
    """
    way = f"--schedule {schedule}" if method == "select" else f"--method {method}"
    if method != "select" and "schedule" in typed(context):
        raise typer.BadParameter(f"--schedule has no effect with {way}; leave it out", ctx=context)
    follows = [name for name in TRAINING if name != "epochs"] if "finetune" in typed(context) else []
    for name in typed(context):
        if name not in (*EVERYWHERE, *HEARD[way], *follows):
            raise typer.BadParameter(f"{option(name)} has no effect with {way}; leave it out", ctx=context)


def selecting(asked: Asked) -> "Pruning":
    """Filters that are selected by score, at once or while the network trains.

    Raises:
        typer.BadParameter: a criterion or scores without effect.
        EngineError: see `Amount.allocation`.
    """
    from ..engine import schedules
    from ..engine.allocations import required
    from ..engine.jobs.job import Pruning
    from ..engine.scores.scoring import Scoring

    allocation = asked.amount.allocation()
    if asked.max_drop is not None:
        if allocation is not None:
            raise typer.BadParameter(f"--max-drop and {allocation.way} exclude each other; give one of them")
        allocation = required({**asked.amount.settings(), "flops": 1.0})  # until it is found out
    if allocation is None:
        asked.show.note("nothing says how much is to leave: keeping half of the MACs (--flops 0.5)")
        allocation = required({**asked.amount.settings(), "flops": 0.5})
    _refuse_scoring_without_effect(allocation, asked.scoring)
    schedule = schedules.get(asked.schedule.schedule)
    own = {field.name for field in fields(schedule)}
    said = {name: value for name, value in asked.schedule.settings().items() if name in own}
    return Pruning(
        allocation=allocation,
        scoring=Scoring(**asked.scoring.settings()),
        schedule=schedule(**said),
        transfer=_transfer(asked.compensation, _is_open(asked, allocation)),
    )


@dataclass(frozen=True)
class Chosen:
    """A method for a network, and what is to be said of it once it is clear that it can be done.

    Attributes:
        traced: the network's trace, where that was needed.
    """

    pruning: "Pruning"
    traced: "Trace | None" = None
    note: str = ""


def measuring(asked: Asked, pruning: "Pruning", source: "Source") -> Chosen:
    """Where a budget is all that was said, and there are images: the network itself says what leaves it.

    Raises:
        typer.BadParameter: images for a compensation that nobody will do.
    """
    from ..engine.graph.trace import trace
    from ..engine.jobs.job import Untrained
    from ..engine.jobs.measured import measured

    if asked.method != "select" or not _is_open(asked, pruning.allocation):
        return Chosen(pruning)
    if not source.trained or not asked.images.images().at_hand(source.network):
        if asked.compensation.details and not asked.compensation.compensate:
            told = option(next(iter(asked.compensation.details)))
            raise typer.BadParameter(f"{told} has no effect without images; say which with --data-dir")
        note = (
            "filters leave by l1, which looks at weights alone; a trained network and images (--data-dir or "
            "--dataset) keep much more of the accuracy"
        )
        return Chosen(pruning, None, note)
    traced = trace(source.network.model, source.network.takes)
    batch_size = asked.training.batch_size or Untrained.batch_size
    found = measured(pruning, asked.compensation.transfer(), source.network, traced, batch_size)
    how = "estimated" if found.estimated else "measured"
    again = f", in each of {asked.steps} steps" if asked.steps > 1 else ""
    note = (
        f"no --criterion: what every width costs is {how} on {found.images[0]} training images, and what "
        f"stays is compensated on {found.images[1]}{again}: about "
        f"{units.duration(asked.steps * found.seconds)}; --criterion l1 leaves that out"
    )
    return Chosen(found.pruning, traced, note)


def _is_open(asked: Asked, allocation: "Allocation") -> bool:
    """Is a budget all that was said of how filters are to be chosen, at once?"""
    from ..engine.allocations.budget import Budget

    scoring, amount, network = asked.scoring, asked.amount, asked.network
    said = scoring.criterion or scoring.scores or amount.ranking or network.recipe
    return not asked.trains and not said and isinstance(allocation, Budget)


def _transfer(wanted: opt.Compensation, automatic: bool) -> "Transfer":
    """What the weights that stay become, where filters are selected.

    Args:
        wanted: what was asked for.
        automatic: are they compensated unasked, where there are images?

    Raises:
        typer.BadParameter: images for a compensation that is not wanted.
    """
    from ..engine.transfers.slice import Slice

    if not wanted.compensate:
        if wanted.details and not automatic:
            told = option(next(iter(wanted.details)))
            raise typer.BadParameter(f"{told} has no effect without --compensate; leave it out")
        return Slice()
    return wanted.transfer()


def training_of(asked: Asked) -> "TrainConfig":
    """How the network trains while filters leave; without --epochs, as long as the authors train."""
    return asked.training.config(
        epochs=15 if asked.way == "layer-by-layer" else 200,
        lr=0.1 if asked.schedule.scratch else 0.01,
        seed=asked.machines.seed,
        device=asked.machines.device,
    )


def sketching(context: typer.Context, asked: Asked) -> "Pruning":
    """Filters that are replaced by a sketch of them.

    Raises:
        typer.BadParameter: no rates.
        AllocationError: rates that cannot be read, or a residual mode that makes no sense here.
    """
    from ..engine.jobs.job import Pruning
    from ..engine.sketching.rates import SketchRates
    from ..engine.transfers.sketch import Sketch

    said = _heard(asked.amount.settings(), SKETCH_AMOUNT)
    if "keep_rate" not in said:
        raise typer.BadParameter("--method sketch needs --keep-rate, such as '[0.6]*27'", ctx=context)
    if asked.schedule.start_conv is not None:
        said["start_conv"] = asked.schedule.start_conv
    said["skip"] = tuple(said.get("skip", ()))
    return Pruning(allocation=SketchRates(**said), transfer=Sketch(**asked.sketching.settings()))


def emptying(asked: Asked, input_size: tuple[int, ...]) -> "tuple[Pruning, TrainConfig]":
    """Compactors that lose rows: the authors' settings for images of that size, but for what the options say.

    Raises:
        EngineError: settings that no training could follow.
    """
    from ..engine.allocations import required
    from ..engine.jobs.job import Pruning
    from ..engine.schedules.gradient_resetting import GradientResetting, published
    from ..engine.transfers.fold import Fold

    config, flops = published(input_size)
    machines = {"seed": asked.machines.seed, "device": asked.machines.device}
    pruning = Pruning(
        allocation=required({"flops": flops, **_heard(asked.amount.settings(), RESREP_AMOUNT)}),
        schedule=GradientResetting(**asked.masks.settings()),
        transfer=Fold(),
    )
    heard = (*RESREP_TRAINING, "channels_last", "augment", "batch_size", "eval_batch_size")
    return pruning, replace(config, **_heard(asked.training.settings(), heard), **machines)


def compared_with_recipes(asked: Asked, pruning: "Pruning") -> "Allocation":
    """What leaves, as the records of recipes say it."""
    from ..engine.allocations import required

    if asked.method != "sketch":
        return pruning.allocation
    return required(_heard(asked.amount.settings(), SKETCH_AMOUNT))


def _heard(said: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The settings that a method listens to: a recipe for another one may say more."""
    return {name: value for name, value in said.items() if name in names}


def _refuse_scoring_without_effect(wanted: "Allocation", scoring: opt.ScoringOrScores) -> None:
    """Scores come from one place, and only where they matter.

    Raises:
        typer.BadParameter: two places, or none that matters.
    """
    if scoring.criterion and scoring.scores:
        raise typer.BadParameter("--criterion and --scores exclude each other")
    if (scoring.criterion or scoring.scores) and not wanted.needs_scores:
        given = "--criterion" if scoring.criterion else "--scores"
        raise typer.BadParameter(f"{given} has no effect with {wanted.way}; leave out one of them")
