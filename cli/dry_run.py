"""`--dry-run`: everything was checked; say what would be done, and do nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import units
from .cost_facts import cost_facts
from .prune_tables import show_costs, show_groups, show_steps
from .show import Out

if TYPE_CHECKING:
    from ..engine.data import ImageData
    from ..engine.graph.cost import Cost
    from ..engine.jobs.steps import Course
    from ..engine.selection.allocation import Allocation
    from ..engine.training.config import TrainConfig


def show_dry_run(
    show: Out,
    arch: str,
    path: Path,
    *,
    before: "Cost",
    after: "Cost | None" = None,
    counts: Mapping[str, tuple[int, int]] | None = None,
    kinds: Mapping[str, str] | None = None,
    wanted: "Allocation | None" = None,
    config: "TrainConfig | None" = None,
    data: "ImageData | None" = None,
    course: "Course | None" = None,
) -> None:
    """Say what a command would do; the last thing that it does with --dry-run.

    Args:
        show: where to.
        arch: of the network.
        path: the file or the folder that would be written.
        before: what one image costs.
        after: what it would cost in the narrow network, where that is known.
        counts: per group that would lose channels, how many stay and how many there are.
        kinds: by group, what is counted, where that is not channels.
        wanted: what `after` and `counts` come from, where filters are still to be scored.
        config: how it would be trained, on `data`.
        course: the way to the budget, where that has several steps.
    """
    steps = [{"macs": step.flops, "params": step.params} for step in (course.forecast() if course else ())]
    training = {} if config is None or data is None else {"training": _training_facts(config, data)}
    show.json(
        {
            **cost_facts(arch, after or before, before),
            "channels": counts or {},
            **training,
            **({"steps": steps} if steps else {}),
            "path": path,
            "dry_run": True,
        }
    )
    if counts:
        residual = "" if wanted is None else f", residual {wanted.for_arch(arch).residual}"
        show_groups(show, f"{arch}{residual}", counts, kinds or {})
    if after is not None:
        show_costs(show, before, after, {}, {"after": "after"})
    else:
        macs, params = units.large(before.macs), units.count(before.params)
        show.facts({"network": f"{arch}, {macs} MACs, {params} params"})
    if course is not None:
        show_steps(show, course)
    if config is not None and data is not None:
        show.facts(_training_words(config, data))
    if counts and wanted is not None and wanted.widths_depend_on_scores:
        show.note("how a budget is shared out among the layers depends on the scores a little")
    show.note(f"dry run: nothing was written; {path} would be")


def folder_of(folder: Path | None, name: str) -> Path:
    """The folder that a run would get: the one that was named, or the next in runs/.

    Raises:
        TrainingError: no folder can be made in runs/.
    """
    from ..engine.network.sources import RUNS
    from ..engine.runs.runs import check_runs

    if folder is None:
        check_runs(RUNS)
    return folder or RUNS / f"{name}-NNN"


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
