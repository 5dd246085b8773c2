"""`prune prune --schedule layer-by-layer|soft|hard`: masks in training, and a narrow network at its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import units
from .common import find, images_of, start_together
from .dry_run import folder_of, show_dry_run
from .flops import cost_facts
from .prune_one_shot import refuse_scoring_without_effect, wanted_or_half
from .prune_tables import SUMMARY_COLUMNS, cost_cells, note_ignored, show_groups
from .recipe_option import hold_against_recipe
from .show import Out
from .training import begin_run, check_folder, run_name, see_through, training_config

if TYPE_CHECKING:
    from ..engine.jobs.gradual import Outcome, Prepared
    from ..engine.jobs.gradual_job import GradualJob
    from ..engine.network.sources import Images


def prune_gradually(context: typer.Context, options: dict[str, Any]) -> None:
    """Begin a run with the command's local variables, or go on with one, and see it through."""
    show = Out(options["json"], options["quiet"])
    start_together(context, options["threads"], options["device"], options["nproc"])
    from ..engine.errors import TrainingError
    from ..engine.jobs.gradual import prepare, run_gradual
    from ..engine.jobs.gradual_job import GradualJob
    from ..engine.runs.runs import Run

    folder, force, resume = options["out"], options["force"], options["resume"]
    if resume is not None:
        run = Run.open(resume)
        job = GradualJob.of_run(run)
        if run.report.exists():
            raise TrainingError(f"{resume} is finished: its networks are {run.final} and {run.narrow}")
        ready = prepare(job)
    else:
        job = _job(show, options)
        check_folder(folder, [job.start, job.scores], force)
        ready = prepare(job)
        hold_against_recipe(context, show, ready.network, job.specification, ready.forecast.after)
        name = run_name(job.schedule, ready.network, ready.data)
        if options["dry_run"]:
            _preview(show, ready, folder_of(folder, name))
            return
        run = begin_run(folder, name, job.settings(ready.network, ready.data), force)
    outcome = see_through(show, run_gradual(ready, run, resume=resume is not None), run.folder, "prune")
    _show(show, outcome)


def _job(show: Out, options: dict[str, Any]) -> "GradualJob":
    """What the options ask for; without --epochs, as long as the authors train."""
    from ..engine.jobs.gradual_job import GradualJob

    if options["scratch"] and options["file"] is not None:
        raise typer.BadParameter("--scratch starts from random weights; leave out FILE")
    wanted = wanted_or_half(show, options)
    refuse_scoring_without_effect(wanted, options["criterion"], options["scores"])
    images = images_of(options)
    scratch, by_layers = options["scratch"], options["schedule"] == "layer-by-layer"
    config = training_config(options, epochs=15 if by_layers else 200, lr=0.1 if scratch else 0.01)
    given = {name: options[name] for name in ("criterion", "limit", "prune_every") if options[name]}
    return GradualJob(
        schedule=options["schedule"],
        specification=wanted,
        config=config,
        images=images,
        start=None if scratch else _start(show, options, images),
        arch=options["arch"] if scratch or options["file"] is not None else None,
        num_classes=options["num_classes"],
        scores=options["scores"],
        start_conv=options["start_conv"],
        recipe=options["recipe"],
        **given,
    )


def _start(show: Out, options: dict[str, Any], images: "Images") -> Path:
    """The file of the trained network."""
    from ..engine.errors import EngineError

    source = find(show, options["file"], options["arch"], images, num_classes=options["num_classes"])
    if not source.trained:
        arch, schedule = source.network.arch, options["schedule"]
        scratch = "" if schedule == "layer-by-layer" else ", or start from random weights with --scratch"
        raise EngineError(
            f"--schedule {schedule} starts from a trained network, and there is none of {arch}; train one "
            f"with `prune train-base --arch {arch}`, name a file{scratch}"
        )
    return Path(source.network.origin)


def _preview(show: Out, ready: "Prepared", folder: Path) -> None:
    """What the run would come to: how many leave is known without scores."""
    from ..engine.graph.cost import count

    show_dry_run(
        show,
        ready.network.arch,
        folder,
        before=ready.forecast.before,
        after=count(ready.forecast.map, ready.leaving),
        counts=ready.counts,
        wanted=ready.job.specification,
        config=ready.config,
        data=ready.data,
    )


def _show(show: Out, outcome: "Outcome") -> None:
    """The facts, once for machines and once as tables."""
    arch, before, after = outcome.network.arch, outcome.before, outcome.after
    show.json(
        {
            **cost_facts(arch, after, before),
            "path": outcome.path,
            "kept": outcome.kept,
            "residual": outcome.residual,
            "pinned": outcome.pinned,
            "ignored": outcome.ignored,
            "difference": outcome.difference,
            "accuracy": outcome.accuracies,
        }
    )
    show_groups(show, f"{arch}, residual {outcome.residual}", outcome.counts)
    tops = {stage: accuracy.top1 for stage, accuracy in outcome.accuracies.items()}
    masked = {"masked, BN live": "live", "masked": "masked"}
    summary = [
        ["before", before.macs, None, before.params, None, tops.get("before")],
        *([words, None, None, None, None, tops[stage]] for words, stage in masked.items() if stage in tops),
        ["narrow", *cost_cells(before, after), tops["narrow"]],
    ]
    show.table("", SUMMARY_COLUMNS, summary)
    note_ignored(show, outcome.ignored)
    if tops["narrow"] != tops["masked"]:
        change = units.points(tops["narrow"] - tops["masked"])
        show.warning(f"the accuracy changed by {change} points: where two logits are equal but for rounding")
    show.note(f"proven: narrow equals masked within {outcome.difference:.1e} (relative, float64)")
    show.note(f"train it further with `prune finetune {outcome.path}`")
