"""What `prune prune` does: at once, or in training, or with a run that was interrupted."""

from dataclasses import replace
from pathlib import Path

import typer

from ..engine.allocations import required
from ..engine.errors import EngineError
from ..engine.jobs.job import Job, Pruning, Untrained
from ..engine.jobs.prepare import Prepared, prepare
from ..engine.jobs.run import run_pruning
from ..engine.jobs.stored import own
from ..engine.network.files import save_network
from ..engine.network.plain_weights import check_words
from ..engine.network.sources import Source
from ..engine.runs.runs import Run
from ..engine.selection import plan as plans
from ..engine.training.config import TrainConfig
from ..weights.files import check_distinct, check_output
from ..weights.formats import check_any
from .common import find, note_images
from .dry_run import show_dry_run
from .options import RunFolder
from .prune_asked import Asked, heard_by
from .prune_finetune import between_steps, files_of_steps, tuning_of
from .prune_method import emptying, measuring, selecting, sketching, training_of
from .prune_outcome import facts_of, say_aim, show_outcome
from .recipe_option import hold_against_recipe
from .training import begin, check_folder, open_interrupted, see_through, train_and_show


def prune_at_once(context: typer.Context, asked: Asked) -> None:
    """Score, remove at once, prove, measure, and write one file."""
    show, folder = asked.show, asked.folder
    pruning = sketching(asked, context) if asked.method == "sketch" else selecting(asked)
    config = own(Untrained, {**asked.training.settings(), **asked.machines.settings()})
    job = _job(asked, pruning, config)  # made before anything is looked for: slips cost no time
    name = asked.file.stem if asked.file is not None else (asked.network.arch or "network").replace(":", "-")
    path = folder.out or Path(f"{name}-pruned.hdf5")
    _check_outputs(asked, path)
    device = asked.machines.start()
    source = _found(asked)
    check_words(path, source.network)
    source.network.model.to(device)
    start = Path(source.network.origin) if source.trained else None
    job, traced, note = measuring(asked, replace(job, start=start), source)
    ready = prepare(job, source.network, traced)
    if note:
        show.note(note)
    if ready.data is not None:
        note_images(show, ready.data)
    elif ready.skipped:
        show.note(f"nothing is measured and no batch norm re-estimated: {ready.skipped}")
    if folder.dry_run:
        show_dry_run(show, ready, path)
        return
    outcome = show.progress(run_pruning(ready, between=between_steps(asked, path, ready)))
    amount = asked.heard(asked.amount).settings()
    recorded = required(amount) if asked.method == "sketch" else job.parts.allocation
    hold_against_recipe(context, show, outcome.network, recorded, outcome.after)

    save_network(path, outcome.network, force=folder.force)
    if asked.plan_out is not None:
        plans.write(asked.plan_out, outcome.plan, force=folder.force)
    show_outcome(show, job.parts, outcome)
    show.saved(path)
    if asked.plan_out is not None:
        show.saved(asked.plan_out)
    facts = facts_of(job.parts, outcome, path)
    if asked.finetune is None:
        show.json(facts)
        return
    tuning, notes = tuning_of(asked, path, job, outcome.network)
    train_and_show(show, tuning, RunFolder(), notes=notes, facts=facts)


def prune_in_training(context: typer.Context, asked: Asked) -> None:
    """Begin a run in which filters leave while the network trains, and see it through."""
    asked.machines.start_together(context)
    scratch = asked.schedule.scratch
    if scratch and asked.file is not None:
        raise typer.BadParameter("--scratch starts from random weights; leave out FILE")
    if asked.method == "resrep":
        source = _trained(asked)
        pruning, config = emptying(asked, source.network.input_size)
    else:
        pruning, config = selecting(asked), training_of(asked)
        source = None if scratch else _trained(asked)
    job = _job(asked, pruning, config, None if source is None else Path(source.network.origin))
    check_folder(asked.folder, job.start, pruning.scoring.scores)
    ready = prepare(job, None if source is None else source.network)
    if pruning.schedule.scores_filters:
        after = ready.chooser.forecast.after
        hold_against_recipe(context, asked.show, ready.network, pruning.allocation, after)
    say_aim(asked.show, ready)
    run = begin(asked.show, ready, asked.folder, asked.way)
    if run is not None:
        _see_through(asked, ready, run)


def go_on(context: typer.Context, asked: Asked, folder: Path) -> None:
    """Go on with an interrupted run, with the settings it was begun with."""
    run, job = open_interrupted(folder, "prune", context)
    asked.machines.start_together(context)
    ready = prepare(job)
    say_aim(asked.show, ready)
    _see_through(asked, ready, run, resume=True)


def _see_through(asked: Asked, ready: Prepared, run: Run, *, resume: bool = False) -> None:
    outcome = see_through(asked.show, ready, run, resume=resume)
    asked.show.json(facts_of(ready.job.parts, outcome, outcome.path))
    show_outcome(asked.show, ready.job.parts, outcome)


def _job(asked: Asked, pruning: Pruning, config: TrainConfig | Untrained, start: Path | None = None) -> Job:
    """The job that was asked for."""
    return Job(
        command="prune",
        images=asked.images.images(),
        config=config,
        start=start,
        arch=asked.network.arch,
        num_classes=asked.num_classes,
        recalibration=asked.recalibrate,
        pruning=pruning,
        recipe=asked.network.recipe,
        **asked.approach.settings(),
    )


def _check_outputs(asked: Asked, path: Path) -> None:
    """Refuse outputs that are there already, or are inputs too, before any work.

    Raises:
        WeightsError: names it.
    """
    files = [path, *files_of_steps(asked, path)]
    for file in files:
        check_any(file, asked.folder.force)
    if asked.plan_out is not None:
        check_output(asked.plan_out, asked.folder.force)
    check_distinct([*files, asked.plan_out], [asked.file, asked.scoring.scores, asked.amount.plan])


def _found(asked: Asked) -> Source:
    return find(
        *(asked.show, asked.file, asked.network.arch, asked.images.images()),
        num_classes=asked.num_classes,
        reach=asked.reach,
        seed=asked.machines.seed,
    )


def _trained(asked: Asked) -> Source:
    """The trained network that a schedule starts from.

    Raises:
        EngineError: there is none.
    """
    source = _found(asked)
    if source.trained:
        return source
    arch = source.network.arch
    what = "ResRep" if asked.method == "resrep" else f"--schedule {asked.way}"
    ways_out = [f"train one with `prune train-base --arch {arch}`", "name a file"]
    if "scratch" in heard_by(asked.way):
        ways_out.append("start from random weights with --scratch")
    raise EngineError(
        f"{what} starts from a trained network, and there is none of {arch}; "
        f"{', '.join(ways_out[:-1])}, or {ways_out[-1]}"
    )
