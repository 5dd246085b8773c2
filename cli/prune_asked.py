"""Everything that one `prune prune` was asked for, and which method hears which of it."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import typer

from . import options as opt
from .show import Out
from .spelling import option, typed

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
    method: Literal["select", "sketch", "resrep"] = opt.setting(
        None,
        "Select filters by score, sketch them, or train with compactors until their rows are zero.",
        default="select",
        panel="What leaves",
    )
    schedule: opt.Schedule
    scoring: opt.ScoringOrScores
    amount: opt.RankedAmount
    approach: opt.Approach
    plan_out: Path | None = opt.setting(
        "FILE", "Write the plan, to read, edit and give to --plan.", panel="Output"
    )
    sketching: opt.Sketching
    compensation: opt.Compensation
    finetune: int | None = opt.setting(
        "EPOCHS",
        "Then train it for so long, taught by the network it was cut from. Default: 0.",
        panel="What stays (--compensate)",
        min=1,
    )
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
