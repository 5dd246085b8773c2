"""The ways `prune prune` can go, and which of its options each one listens to."""

from dataclasses import dataclass, fields
from pathlib import Path

import typer

from . import options as opt
from .typed import option, typed

EVERYWHERE = (
    *("file", "arch", "method", "schedule", "skip", "residual", "recipe", "dry_run"),
    *("dataset", "data_dir", "download", "image_size", "batch_size", "eval_batch_size", "workers"),
    *("device", "threads", "seed", "out", "resume", "force", "json", "quiet"),
)
SCORES = ("criterion", "scores", "limit")
AMOUNTS = (
    *("compress_rate", "keep_rate", "rate", "layer_rate", "rate_norm", "rate_dist", "distance"),
    *("flops", "params", "ranking", "round_to", "min_channels", "max_rate", "deps", "plan"),
)
TRAINING = ("epochs", "lr", "weight_decay", "no_augment", "precision", "sync_bn", "nproc")
PENALTY = ("lasso", "mask_after", "mask_interval", "granularity")

ONE_SHOT = (*SCORES, *AMOUNTS, "plan_out", "recalibrate", "num_classes")
GRADUAL = (*SCORES, *AMOUNTS, *TRAINING, *(field.name for field in fields(opt.Training)), "num_classes")
WAYS = {
    "--schedule one-shot": ONE_SHOT,
    "--schedule layer-by-layer": (*GRADUAL, "start_conv"),
    "--schedule soft": (*GRADUAL, "prune_every", "scratch"),
    "--schedule hard": (*GRADUAL, "prune_every", "scratch"),
    "--method sketch": ("keep_rate", "procedure", "weight_norm", "start_conv", "recalibrate"),
    "--method resrep": ("flops", *PENALTY, *TRAINING),
}


@dataclass(frozen=True)
class Asked:
    """Everything that one `prune prune` was asked for."""

    context: typer.Context
    file: Path | None
    network: opt.Network
    method: str
    schedule: opt.Schedule
    scoring: opt.ScoringOrScores
    amount: opt.RankedAmount
    plan_out: Path | None
    sketching: opt.Sketching
    recalibrate: int
    images: opt.Images
    num_classes: int | None
    masks: opt.Masks
    training: opt.Training
    machines: opt.Machines
    folder: opt.FileOrRunFolder
    output: opt.Work


def check_way(context: typer.Context, method: str, schedule: str) -> None:
    """Refuse options that the way gone does not listen to.

    Raises:
        typer.BadParameter: names the first one that was typed.
    """
    way = f"--schedule {schedule}" if method == "select" else f"--method {method}"
    if method != "select" and "schedule" in typed(context):
        raise typer.BadParameter(f"--schedule has no effect with {way}; leave it out", ctx=context)
    for name in typed(context):
        if name not in EVERYWHERE and name not in WAYS[way]:
            raise typer.BadParameter(f"{option(name)} has no effect with {way}; leave it out", ctx=context)
