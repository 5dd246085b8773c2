"""`prune prune --schedule layer-by-layer|soft|hard`: masks in training, and a narrow network at its end."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import units
from .common import find
from .cost_facts import cost_facts
from .dry_run import folder_of, show_dry_run
from .prune_one_shot import refuse_scoring_without_effect, wanted_or_half
from .prune_tables import SUMMARY_COLUMNS, cost_cells, note_ignored, show_groups
from .prune_ways import Asked
from .recipe_option import hold_against_recipe
from .show import Out
from .training import begin_run, check_folder, run_name, see_through

if TYPE_CHECKING:
    from ..engine.jobs.gradual import Outcome, Prepared
    from ..engine.jobs.gradual_job import GradualJob
    from ..engine.network.sources import Images


def prune_gradually(asked: Asked) -> None:
    """Begin a run as it was asked, or go on with one, and see it through."""
    show = asked.output.show()
    asked.machines.start_together(asked.context)
    from ..engine.errors import TrainingError
    from ..engine.jobs.gradual import prepare, run_gradual
    from ..engine.jobs.gradual_job import GradualJob
    from ..engine.runs.runs import Run

    folder, force, resume = asked.folder.out, asked.folder.force, asked.folder.resume
    if resume is not None:
        run = Run.open(resume)
        job = GradualJob.of_run(run)
        if run.report.exists():
            raise TrainingError(f"{resume} is finished: its networks are {run.final} and {run.narrow}")
        ready = prepare(job)
    else:
        job = _job(show, asked)
        check_folder(folder, [job.start, job.scores], force)
        ready = prepare(job)
        hold_against_recipe(asked.context, show, ready.network, job.specification, ready.forecast.after)
        name = run_name(job.schedule, ready.network, ready.data)
        if asked.folder.dry_run:
            _preview(show, ready, folder_of(folder, name))
            return
        run = begin_run(folder, name, job.settings(ready.network, ready.data), force)
    outcome = see_through(show, run_gradual(ready, run, resume=resume is not None), run.folder, "prune")
    _show(show, outcome)


def _job(show: Out, asked: Asked) -> "GradualJob":
    """What the options ask for; without --epochs, as long as the authors train."""
    from ..engine.jobs.gradual_job import GradualJob

    if asked.schedule.scratch and asked.file is not None:
        raise typer.BadParameter("--scratch starts from random weights; leave out FILE")
    wanted = wanted_or_half(show, asked)
    refuse_scoring_without_effect(wanted, asked.scoring.criterion, asked.scoring.scores)
    images = asked.images.images()
    scratch, by_layers = asked.schedule.scratch, asked.schedule.schedule == "layer-by-layer"
    config = asked.training.config(
        epochs=15 if by_layers else 200,
        lr=0.1 if scratch else 0.01,
        seed=asked.machines.seed,
        device=asked.machines.device,
    )
    given = {
        "criterion": asked.scoring.criterion,
        "limit": asked.scoring.limit,
        "prune_every": asked.schedule.prune_every,
    }
    return GradualJob(
        schedule=asked.schedule.schedule,
        specification=wanted,
        config=config,
        images=images,
        start=None if scratch else _start(show, asked, images),
        arch=asked.network.arch if scratch or asked.file is not None else None,
        num_classes=asked.num_classes,
        scores=asked.scoring.scores,
        start_conv=asked.schedule.start_conv,
        recipe=asked.network.recipe,
        **{name: value for name, value in given.items() if value is not None},
    )


def _start(show: Out, asked: Asked, images: "Images") -> Path:
    """The file of the trained network."""
    from ..engine.errors import EngineError

    source = find(show, asked.file, asked.network.arch, images, num_classes=asked.num_classes)
    if not source.trained:
        arch, schedule = source.network.arch, asked.schedule.schedule
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
