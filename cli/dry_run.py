"""`--dry-run`: everything was checked; say what would be done, and do nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import units
from .costs import SUMMARY_COLUMNS, cost_cells, cost_facts, show_groups
from .show import Format, Out

if TYPE_CHECKING:
    from ..engine.data import ImageData
    from ..engine.graph.cost import Cost
    from ..engine.jobs.prepare import Prepared
    from ..engine.jobs.steps import StepBudget
    from ..engine.network.network import Network
    from ..engine.schedules import Ready
    from ..engine.training.config import TrainConfig


def show_dry_run(show: Out, ready: "Prepared", path: Path) -> None:
    """Say what a command would do; the last thing that it does with --dry-run.

    Args:
        show: where to.
        ready: what it would do.
        path: the file or the folder that would be written.
    """
    schedule, arch = ready.schedule, ready.network.arch
    config = ready.job.training if schedule is None else schedule.config
    training = None if config is None or ready.data is None else (config, ready.data)
    before = _cost(ready.network) if schedule is None else schedule.chooser.before
    after = None if schedule is None else schedule.after
    counts = {} if schedule is None else schedule.counts
    steps = _steps(ready)
    if ready.job.max_drop is not None:
        show.note("--max-drop: how much leaves is found out by trying; below, nothing has left yet")
    show.json(
        {
            **cost_facts(arch, after or before, before),
            "channels": counts,
            **({"training": _training_facts(*training)} if training else {}),
            **({"steps": [{"macs": step.flops, "params": step.params} for step in steps]} if steps else {}),
            "path": path,
            "dry_run": True,
        }
    )
    if schedule is not None and counts:
        show_groups(show, _title(ready, schedule), counts)
    if after is not None:
        rows = [["before", before.macs, None, before.params, None, None]]
        show.table("", SUMMARY_COLUMNS, [*rows, ["after", *cost_cells(before, after), None]])
    else:
        macs, params = units.large(before.macs), units.count(before.params)
        show.facts({"network": f"{arch}, {macs} MACs, {params} params"})
    if steps:
        columns: dict[str, Format] = {"": str, "MACs": units.large, "params": units.count}
        rows = [[f"step {n} of {len(steps)}", step.flops, step.params] for n, step in enumerate(steps, 1)]
        show.table("what is left at most", columns, rows)
    if training:
        show.facts(_training_words(*training))
    if schedule is not None and counts and schedule.chooser.wanted.widths_depend_on_scores:
        show.note("how a budget is shared out among the layers depends on the scores a little")
    show.note(f"dry run: nothing was written; {path} would be")


def _cost(network: "Network") -> "Cost":
    from ..engine.graph.cost import count
    from ..engine.graph.trace import trace

    return count(trace(network.model, network.takes).map)


def _steps(ready: "Prepared") -> "list[StepBudget]":
    """The most that each step of the way to a budget would leave."""
    from ..engine.jobs.at_once import course_of

    course = course_of(ready)
    return list(course.forecast()) if course else []


def _title(ready: "Prepared", schedule: "Ready") -> str:
    pruning = ready.job.pruning
    sketched = pruning is not None and pruning.method == "sketch"
    residual = "" if sketched else f", residual {schedule.chooser.wanted.residual}"
    return f"{ready.network.arch}{residual}"


def _training_facts(config: "TrainConfig", data: "ImageData") -> dict[str, Any]:
    from ..engine.training.steps import steps_per_epoch

    return {
        "dataset": data.info.name,
        "images": data.size("train"),
        "steps_per_epoch": steps_per_epoch(data, config.batch_size),
        **asdict(config),
    }


def _training_words(config: "TrainConfig", data: "ImageData") -> dict[str, str]:
    from ..engine.training.steps import steps_per_epoch

    epochs = units.count(config.epochs)
    if config.cycle_epochs is not None:
        layers = config.epochs // config.cycle_epochs
        epochs = f"{config.cycle_epochs} for each of {layers} layers, {epochs} in all"
    steps, images = steps_per_epoch(data, config.batch_size), data.size("train")
    return {
        "images": f"{data.info.name}, {units.count(images)} to train on",
        "epochs": f"{epochs}, of {units.count(steps)} steps on {config.batch_size} images",
        "learning rate": _rate_words(config),
        "momentum": f"{config.momentum:g}" + (", Nesterov's" if config.nesterov else ""),
        "weight decay": f"{config.weight_decay:g}"
        + (", ResRep's way" if config.decay_rule == "resrep" else ""),
    }


def _rate_words(config: "TrainConfig") -> str:
    """The learning rate over the epochs."""
    falls = "to 0 along a cosine"
    if config.lr_schedule == "multistep":
        falls = f"times {config.gamma:g} after epochs {', '.join(map(str, config.milestones))}"
    rises = f", after {config.warmup_epochs} epochs of rising" if config.warmup_epochs else ""
    return f"{config.lr:g}, {falls}{rises}"
