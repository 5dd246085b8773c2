"""From the options of `prune prune` to the four parts of a method."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import typer

from . import options as opt
from . import units
from .show import Out
from .spelling import option, typed

if TYPE_CHECKING:
    from ..engine.graph.trace import Trace
    from ..engine.jobs.job import Pruning
    from ..engine.network.sources import Source
    from ..engine.selection.allocation import Allocation
    from ..engine.training.config import TrainConfig

G = TypeVar("G", bound=opt.Group)


def _names(*groups: type[opt.Group]) -> tuple[str, ...]:
    """The options of some groups."""
    return tuple(field.name for group in groups for field in fields(group))


EVERYWHERE = (
    *_names(opt.Network, opt.Images, opt.Machine, opt.FileOrRunFolder, opt.Work),
    *("file", "method", "schedule", "skip", "residual", "batch_size", "eval_batch_size", "seed"),
)
IN_TRAINING = (*_names(opt.ScoringOrScores, opt.RankedAmount, opt.Training), "nproc", "num_classes")
HEARD = {  # by the method, or the schedule of selected filters; other schedules hear what most of them do
    "one-shot": (
        *_names(opt.ScoringOrScores, opt.RankedAmount, opt.Reach, opt.Approach, opt.Compensation),
        *("plan_out", "recalibrate", "num_classes", "finetune"),
    ),
    "layer-by-layer": (*IN_TRAINING, "start_conv"),
    "soft": (*IN_TRAINING, "prune_every", "scratch"),
    "hard": (*IN_TRAINING, "prune_every", "scratch"),
    "sketch": ("keep_rate", *_names(opt.Sketching), "start_conv", "recalibrate", "finetune"),
    "resrep": (
        *("flops", *_names(opt.Masks), "nproc"),
        *("epochs", "lr", "weight_decay", "no_augment", "precision", "layout", "sync_bn"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Asked(opt.Group):
    """Everything that one `prune prune` was asked for."""

    file: opt.File = None
    network: opt.Network
    reach: opt.Reach
    method: opt.Method = "select"
    schedule: opt.Schedule
    scoring: opt.ScoringOrScores
    amount: opt.RankedAmount
    approach: opt.Approach
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
        """What says when and how filters leave: the schedule where they are selected, else the method."""
        return self.schedule.schedule if self.method == "select" else self.method

    def heard(self, group: G) -> G:
        """Of a group, the options that the way listens to: a recipe for another one may say more."""
        deaf = (field for field in fields(group) if field.name not in heard_by(self.way))
        return replace(group, **{field.name: field.default for field in deaf})


def heard_by(way: str) -> tuple[str, ...]:
    """The options that a method or schedule listens to."""
    return (*EVERYWHERE, *HEARD.get(way, IN_TRAINING))


def check_way(context: typer.Context, asked: Asked) -> None:
    """Refuse options that the method or schedule does not listen to.

    Of a training that follows, all options but its length are heard.

    Raises:
        typer.BadParameter: names the first one that was typed.
    """
    said = typed(context)
    follows = [name for name in _names(opt.Training) if name != "epochs"] if "finetune" in said else []
    kind = "schedule" if asked.method == "select" else "method"
    known = {*heard_by(asked.way), *follows} - ({"schedule"} - {kind})
    deaf = [name for name in said if name not in known]
    if deaf:
        told = option("schedule" if "schedule" in deaf else deaf[0])
        raise typer.BadParameter(f"{told} has no effect with --{kind} {asked.way}; leave it out", ctx=context)


def selecting(asked: Asked) -> "Pruning":
    """Filters that are selected by score, at once or while the network trains.

    Raises:
        typer.BadParameter: options without effect.
        EngineError: see `Amount.allocation`.
    """
    from ..engine import schedules
    from ..engine.allocations import required
    from ..engine.jobs.job import Pruning
    from ..engine.scores.scoring import Scoring
    from ..engine.transfers.slice import Slice

    allocation, searched = asked.amount.allocation(), asked.approach.max_drop is not None
    if allocation is not None and searched:
        raise typer.BadParameter(f"--max-drop and {allocation.way} exclude each other; give one of them")
    if allocation is None:
        if not searched:
            asked.show.note("nothing says how much is to leave: keeping half of the MACs (--flops 0.5)")
        share = 1.0 if searched else 0.5  # which is yet to be found out, or usual
        allocation = required({**asked.amount.settings(), "flops": share})
    _refuse_scoring_without_effect(allocation, asked.scoring)
    compensation = asked.compensation
    if not compensation.compensate and not _is_open(asked, allocation):
        _refuse_details(compensation, "without --compensate; leave it out")
    schedule = schedules.get(asked.schedule.schedule)
    own = {field.name for field in fields(schedule)}
    said = {name: value for name, value in asked.schedule.settings().items() if name in own}
    return Pruning(
        allocation=allocation,
        scoring=Scoring(**asked.scoring.settings()),
        schedule=schedule(**said),
        transfer=compensation.transfer() if compensation.compensate else Slice(),
    )


def measuring(asked: Asked, pruning: "Pruning", source: "Source") -> "tuple[Pruning, Trace | None, str]":
    """Where a budget is all that was said, and there are images: the network itself says what leaves it.

    Returns:
        The method for this network; its trace, where that was needed; and what is to be said of it once it is
        clear that it can be done.

    Raises:
        typer.BadParameter: images for a compensation that nobody will do.
    """
    if asked.method != "select" or not _is_open(asked, pruning.allocation):
        return pruning, None, ""
    if not source.trained or not asked.images.images().at_hand(source.network):
        if not asked.compensation.compensate:
            _refuse_details(asked.compensation, "without images; say which with --data-dir")
        note = (
            "filters leave by l1, which looks at weights alone; a trained network and images (--data-dir or "
            "--dataset) keep much more of the accuracy"
        )
        return pruning, None, note
    from ..engine.graph.trace import trace
    from ..engine.jobs.job import Untrained
    from ..engine.jobs.measured import measured

    traced, steps = trace(source.network.model, source.network.takes), asked.approach.steps
    batch_size = asked.training.batch_size or Untrained.batch_size
    found = measured(pruning, asked.compensation.transfer(), source.network, traced, batch_size)
    how = "estimated" if found.estimated else "measured"
    again = f", in each of {steps} steps" if steps > 1 else ""
    note = (
        f"no --criterion: what every width costs is {how} on {found.images[0]} training images, and what "
        f"stays is compensated on {found.images[1]}{again}: about {units.duration(steps * found.seconds)}; "
        "--criterion l1 leaves that out"
    )
    return found.pruning, traced, note


def _is_open(asked: Asked, allocation: "Allocation") -> bool:
    """Is a budget all that was said of how filters are to be chosen, at once?"""
    from ..engine.allocations.budget import Budget

    scoring, amount, network = asked.scoring, asked.amount, asked.network
    said = scoring.criterion or scoring.scores or amount.ranking or network.recipe
    return not asked.trains and not said and isinstance(allocation, Budget)


def _refuse_details(compensation: opt.Compensation, why: str) -> None:
    """Refuse to hear how weights are to be compensated, where they are not."""
    for name in compensation.details:
        raise typer.BadParameter(f"{option(name)} has no effect {why}")


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

    said = asked.heard(asked.amount).settings()
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
        allocation=required({"flops": flops, **asked.heard(asked.amount).settings()}),
        schedule=GradientResetting(**asked.masks.settings()),
        transfer=Fold(),
    )
    return pruning, replace(config, **asked.heard(asked.training).settings(), **machines)


def compared_with_recipes(asked: Asked, pruning: "Pruning") -> "Allocation":
    """What leaves, as the records of recipes say it."""
    from ..engine.allocations import required

    return required(asked.heard(asked.amount).settings()) if asked.method == "sketch" else pruning.allocation


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
