"""`prune prune` at work: into one file at once, or into the folder of a run while the network trains."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import options as opt
from .common import find, note_images
from .dry_run import folder_of, show_dry_run
from .prune_finetune import between_steps, files_of_steps, finetune
from .prune_method import (
    Asked,
    compared_with_recipes,
    emptying,
    measuring,
    selecting,
    sketching,
    training_of,
)
from .prune_outcome import facts_of, say_aim, show_outcome
from .recipe_option import hold_against_recipe
from .training import begin_run, check_folder, open_interrupted, run_name, see_through

if TYPE_CHECKING:
    from ..engine.jobs.prepare import Prepared
    from ..engine.network.sources import Source


def prune_at_once(context: typer.Context, asked: Asked) -> None:
    """Score, remove at once, prove, measure, and write one file."""
    from ..engine.jobs.job import Job, Untrained
    from ..engine.jobs.prepare import prepare
    from ..engine.jobs.run import run_pruning
    from ..engine.jobs.steps import check as check_steps
    from ..engine.network.network import save_network
    from ..engine.network.plain_weights import check_words
    from ..engine.selection import plan as plans

    show, folder, machines = asked.show, asked.folder, asked.machines
    pruning = sketching(context, asked) if asked.method == "sketch" else selecting(asked)
    check_steps(asked.steps, pruning, asked.max_drop, asked.network.recipe)
    path = folder.out or beside(asked.file, asked.network.arch)
    _check_outputs(asked, path)
    device = machines.start()
    images = asked.images.images()
    source = _found(asked, machines.seed)
    check_words(path, source.network)
    source.network.model.to(device)
    chosen = measuring(asked, pruning, source)
    pruning = chosen.pruning
    job = Job(
        command="prune",
        images=images,
        config=Untrained(**_batches(asked.training), seed=machines.seed, device=machines.device),
        start=Path(source.network.origin) if source.trained else None,
        arch=asked.network.arch,
        num_classes=asked.num_classes,
        recalibration=asked.recalibrate,
        max_drop=asked.max_drop,
        steps=asked.steps,
        pruning=pruning,
        recipe=asked.network.recipe,
    )
    ready = prepare(job, source.network, chosen.traced)
    if chosen.note:
        show.note(chosen.note)
    if ready.data is not None:
        note_images(show, ready.data)
    elif ready.skipped:
        show.note(f"nothing is measured and no batch norm re-estimated: {ready.skipped}")
    if folder.dry_run:
        _preview(asked, ready, path)
        return
    outcome = show.progress(run_pruning(ready, between=between_steps(asked, path, ready)))
    wanted = compared_with_recipes(asked, pruning)
    hold_against_recipe(context, show, outcome.network, wanted, outcome.after)

    save_network(path, outcome.network, force=folder.force)
    if asked.plan_out is not None:
        plans.write(asked.plan_out, outcome.plan, force=folder.force)
    show_outcome(show, pruning, outcome)
    show.saved(path)
    if asked.plan_out is not None:
        show.saved(asked.plan_out)
    facts = facts_of(pruning, outcome, path)
    if asked.finetune is None:
        show.json(facts)
    else:
        finetune(asked, path, job, facts)


def prune_in_training(context: typer.Context, asked: Asked) -> None:
    """Begin a run in which filters leave while the network trains, and see it through."""
    asked.machines.start_together(context)
    from ..engine.jobs.job import Job
    from ..engine.jobs.prepare import prepare
    from ..engine.jobs.run import run_pruning

    show, folder, arch = asked.show, asked.folder, asked.network.arch
    scratch = asked.schedule.scratch
    if scratch and asked.file is not None:
        raise typer.BadParameter("--scratch starts from random weights; leave out FILE")
    if asked.method == "resrep":
        source = _trained(asked)
        pruning, config = emptying(asked, source.network.input_size)
    else:
        pruning, config = selecting(asked), training_of(asked)
        source = None if scratch else _trained(asked)
    job = Job(
        command="prune",
        images=asked.images.images(),
        config=config,
        start=None if source is None else Path(source.network.origin),
        arch=arch,
        num_classes=asked.num_classes,
        pruning=pruning,
        recipe=asked.network.recipe,
    )
    check_folder(folder.out, [job.start, pruning.scoring.scores], folder.force)
    ready = prepare(job, None if source is None else source.network)
    if pruning.schedule.scores_filters:
        assert ready.schedule is not None
        forecast = ready.schedule.chooser.forecast
        hold_against_recipe(context, show, ready.network, pruning.allocation, forecast.after)
    say_aim(show, ready)
    name = run_name(asked.way, ready.network, ready.images)
    if folder.dry_run:
        _preview(asked, ready, folder_of(folder.out, name))
        return
    run = begin_run(folder.out, name, job.settings(ready.network, ready.images), folder.force)
    outcome = see_through(show, run_pruning(ready, run), run.folder, "prune")
    show.json(facts_of(pruning, outcome, outcome.path))
    show_outcome(show, pruning, outcome)


def resume_pruning(context: typer.Context, asked: Asked, folder: Path) -> None:
    """Go on with an interrupted run, with the settings it was begun with."""
    from ..engine.jobs.prepare import prepare
    from ..engine.jobs.run import run_pruning

    run, job = open_interrupted(folder, "prune", context)
    asked.machines.start_together(context)
    ready = prepare(job)
    say_aim(asked.show, ready)
    events = run_pruning(ready, run, resume=True)
    outcome = see_through(asked.show, events, run.folder, "prune")
    assert job.pruning is not None
    asked.show.json(facts_of(job.pruning, outcome, outcome.path))
    show_outcome(asked.show, job.pruning, outcome)


def beside(file: Path | None, arch: str | None) -> Path:
    """The default output: in the current folder, named after the network."""
    name = file.stem if file is not None else (arch or "network").replace(":", "-")
    return Path(f"{name}-pruned.hdf5")


def _check_outputs(asked: Asked, path: Path) -> None:
    """Refuse outputs that are there already, or are inputs too, before any work.

    Raises:
        WeightsError: names it.
    """
    from ..weights.files import check_distinct, check_output
    from ..weights.formats import check_any

    files = [path, *files_of_steps(asked, path)]
    for file in files:
        check_any(file, asked.folder.force)
    if asked.plan_out is not None:
        check_output(asked.plan_out, asked.folder.force)
    check_distinct([*files, asked.plan_out], [asked.file, asked.scoring.scores, asked.amount.plan])


def _batches(training: opt.Training) -> dict[str, int]:
    """The sizes of batches that were given."""
    sizes = {"batch_size": training.batch_size, "eval_batch_size": training.eval_batch_size}
    return {name: size for name, size in sizes.items() if size is not None}


def _found(asked: Asked, seed: int = 0) -> "Source":
    images, arch = asked.images.images(), asked.network.arch
    return find(
        *(asked.show, asked.file, arch, images),
        num_classes=asked.num_classes,
        part=asked.part,
        through_norms=asked.through_norms,
        seed=seed,
    )


def _trained(asked: Asked) -> "Source":
    """The trained network that a schedule starts from.

    Raises:
        EngineError: there is none.
    """
    from ..engine.errors import EngineError

    source = _found(asked)
    if source.trained:
        return source
    arch = source.network.arch
    what = "ResRep" if asked.method == "resrep" else f"--schedule {asked.way}"
    ways_out = [f"train one with `prune train-base --arch {arch}`", "name a file"]
    if asked.way in ("soft", "hard"):
        ways_out.append("start from random weights with --scratch")
    raise EngineError(
        f"{what} starts from a trained network, and there is none of {arch}; "
        f"{', '.join(ways_out[:-1])}, or {ways_out[-1]}"
    )


def _preview(asked: Asked, ready: "Prepared", path: Path) -> None:
    """What would come of it: how many leave is known without scores, but for ResRep's."""
    from ..engine.jobs.at_once import course_of

    pruning = ready.schedule
    assert pruning is not None
    if asked.max_drop is not None:
        asked.show.note("--max-drop: how much leaves is found out by trying; below, nothing has left yet")
    show_dry_run(
        asked.show,
        ready.network.arch,
        path,
        before=pruning.chooser.before,
        after=pruning.after,
        counts=pruning.counts,
        wanted=None if asked.method == "sketch" else pruning.chooser.wanted,
        config=pruning.config,
        data=ready.data,
        course=course_of(ready),
    )
