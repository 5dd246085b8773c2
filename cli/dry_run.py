"""`--dry-run`: everything was checked; say what would be done, and do nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..engine.data import ImageData
from ..engine.graph.cost import count
from ..engine.graph.trace import trace
from ..engine.jobs.at_once import course_of
from ..engine.jobs.prepare import Prepared
from ..engine.training.config import TrainConfig
from ..engine.training.steps import steps_per_epoch
from . import units
from .costs import SUMMARY_COLUMNS, cost_cells, cost_facts, show_groups, units_of
from .show import Format, Out


def show_dry_run(show: Out, ready: Prepared, path: Path) -> None:
    """Say what a command would do, and that it would write `path`; the last thing it does with --dry-run."""
    schedule, network = ready.schedule, ready.network
    if schedule is None:
        config, after, counts = ready.job.training, None, {}
        before = count(trace(network.model, network.takes).map)
    else:
        config, after, counts = schedule.config, schedule.after, schedule.counts
        before = schedule.chooser.before
    course = course_of(ready)
    steps = list(course.forecast()) if course else []
    if ready.job.max_drop is not None:
        show.note("--max-drop: how much leaves is found out by trying; below, nothing has left yet")
    show.json(
        {
            **cost_facts(network.arch, after or before, before),
            "channels": counts,
            **({"training": _training_facts(config, ready.images)} if config else {}),
            **({"steps": [{"macs": step.flops, "params": step.params} for step in steps]} if steps else {}),
            "path": path,
            "dry_run": True,
        }
    )
    if counts:
        chooser = ready.chooser
        residual = "" if ready.job.parts.method == "sketch" else f", residual {chooser.wanted.residual}"
        show_groups(show, f"{network.arch}{residual}", counts, units_of(chooser.seen.traced.map))
    if after is not None:
        rows = [["before", before.macs, None, before.params, None, None]]
        show.table("", SUMMARY_COLUMNS, [*rows, ["after", *cost_cells(before, after), None]])
    else:
        macs, params = units.large(before.macs), units.count(before.params)
        show.facts({"network": f"{network.arch}, {macs} MACs, {params} params"})
    if steps:
        columns: dict[str, Format] = {"": str, "MACs": units.large, "params": units.count}
        rows = [[f"step {n} of {len(steps)}", step.flops, step.params] for n, step in enumerate(steps, 1)]
        show.table("what is left at most", columns, rows)
    if config:
        show.facts(_training_words(config, ready.images))
    if counts and ready.chooser.wanted.widths_depend_on_scores:
        show.note("how a budget is shared out among the layers depends on the scores a little")
    show.note(f"dry run: nothing was written; {path} would be")


def _training_facts(config: TrainConfig, data: ImageData) -> dict[str, Any]:
    return {
        "dataset": data.info.name,
        "images": data.size("train"),
        "steps_per_epoch": steps_per_epoch(data, config.batch_size),
        **asdict(config),
    }


def _training_words(config: TrainConfig, data: ImageData) -> dict[str, str]:
    epochs = units.count(config.epochs)
    if config.cycle_epochs is not None:
        layers = config.epochs // config.cycle_epochs
        epochs = f"{config.cycle_epochs} for each of {layers} layers, {epochs} in all"
    steps, images = steps_per_epoch(data, config.batch_size), data.size("train")
    resrep = ", ResRep's way" if config.decay_rule == "resrep" else ""
    return {
        "images": f"{data.info.name}, {units.count(images)} to train on",
        "epochs": f"{epochs}, of {units.count(steps)} steps on {config.batch_size} images",
        "learning rate": _rate_words(config),
        "momentum": f"{config.momentum:g}" + (", Nesterov's" if config.nesterov else ""),
        "weight decay": f"{config.weight_decay:g}{resrep}",
    }


def _rate_words(config: TrainConfig) -> str:
    """The learning rate over the epochs."""
    falls = "to 0 along a cosine"
    if config.lr_schedule == "multistep":
        falls = f"times {config.gamma:g} after epochs {', '.join(map(str, config.milestones))}"
    rises = f", after {config.warmup_epochs} epochs of rising" if config.warmup_epochs else ""
    return f"{config.lr:g}, {falls}{rises}"
