"""`prune prune`: choose filters, remove them and write the narrow network, at once or in training."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .common import find, note_images
from .dry_run import show_dry_run
from .grouped import grouped
from .prune_finetune import between_steps, files_of_steps, finetune
from .prune_method import (
    Asked,
    check_way,
    compared_with_recipes,
    emptying,
    heard_by,
    measuring,
    selecting,
    sketching,
    training_of,
)
from .prune_outcome import facts_of, say_aim, show_outcome
from .recipe_option import check_recipe, hold_against_recipe
from .training import begin, check_folder, open_interrupted, see_through

if TYPE_CHECKING:
    from ..engine.jobs.prepare import Prepared
    from ..engine.network.sources import Source
    from ..engine.runs.runs import Run


@grouped
def command(context: typer.Context, *, asked: Asked) -> None:
    """Choose filters, remove them and write the narrow network.

    Say how much leaves with one of --flops, --params, --rate, --layer-rate, --compress-rate, --keep-rate,
    --rate-norm/--rate-dist, --deps or --plan; without any, half of the MACs stay (--flops 0.5). Nothing is
    written unless the narrow network equals the masked one.

    With a budget (--flops, --params), images (--dataset, --data-dir, or a network that says what it was
    measured on) and nothing else, the network says what leaves it: on training images, without labels, it is
    measured what every width of every layer costs its answers (--criterion obs-measured --ranking loss), and
    what stays is solved again to make up for what left (--compensate). No training, a minute or two;
    --finetune trains after that. --max-drop finds the least budget that accuracy allows. --steps N reaches a
    budget little by little: each step leaves the same share of what the one before left.

    Else filters leave by --criterion (default: l1) or --scores, batch norms are re-estimated where there are
    images, and --compensate does more than that.

    --schedule layer-by-layer masks one layer, trains --epochs, and goes on to the next; soft and hard mask
    all layers anew every --prune-every epochs of one training. --method sketch replaces filters by a sketch
    of them (--keep-rate). --method resrep trains compactors that lose rows until --flops of the MACs stay,
    and folds them away; defaults are the authors': --flops 0.471, 480 epochs, batches of 64, learning rate
    0.01, weight decay 0.0001; for images above 64 pixels 0.455, 180 epochs, batches of 256. Whatever trains
    keeps a folder, and goes on with --resume FOLDER when interrupted.
    """
    if asked.folder.resume is not None:
        _resume(context, asked, asked.folder.resume)
        return
    check_way(context, asked)
    check_recipe(context, asked.file, asked.network.arch)
    (_prune_in_training if asked.trains else _prune_at_once)(context, asked)


def _prune_at_once(context: typer.Context, asked: Asked) -> None:
    """Score, remove at once, prove, measure, and write one file."""
    from ..engine.jobs.job import Job, Untrained
    from ..engine.jobs.prepare import prepare
    from ..engine.jobs.run import run_pruning
    from ..engine.network.network import save_network
    from ..engine.selection import plan as plans

    show, folder, machines = asked.show, asked.folder, asked.machines
    sizes = {"batch_size": asked.training.batch_size, "eval_batch_size": asked.training.eval_batch_size}
    given = {name: size for name, size in sizes.items() if size is not None}
    job = Job(  # made before anything is looked for: slips cost no time
        command="prune",
        images=asked.images.images(),
        config=Untrained(**given, seed=machines.seed, device=machines.device),
        arch=asked.network.arch,
        num_classes=asked.num_classes,
        recalibration=asked.recalibrate,
        pruning=sketching(context, asked) if asked.method == "sketch" else selecting(asked),
        recipe=asked.network.recipe,
        **asked.approach.settings(),
    )
    path = folder.out or _beside(asked.file, asked.network.arch)
    _check_outputs(asked, path)
    device = machines.start()
    source = _found(asked)
    source.network.model.to(device)
    pruning, traced, note = measuring(asked, job.parts, source)
    job = replace(job, start=Path(source.network.origin) if source.trained else None, pruning=pruning)
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


def _prune_in_training(context: typer.Context, asked: Asked) -> None:
    """Begin a run in which filters leave while the network trains, and see it through."""
    asked.machines.start_together(context)
    from ..engine.jobs.job import Job
    from ..engine.jobs.prepare import prepare

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
        arch=asked.network.arch,
        num_classes=asked.num_classes,
        pruning=pruning,
        recipe=asked.network.recipe,
    )
    check_folder(asked.folder, job.start, pruning.scoring.scores)
    ready = prepare(job, None if source is None else source.network)
    if pruning.schedule.scores_filters:
        chooser = ready.chooser
        hold_against_recipe(context, asked.show, ready.network, pruning.allocation, chooser.forecast.after)
    say_aim(asked.show, ready)
    run = begin(asked.show, ready, asked.folder, asked.way)
    if run is not None:
        _see_through(asked, ready, run)


def _resume(context: typer.Context, asked: Asked, folder: Path) -> None:
    """Go on with an interrupted run, with the settings it was begun with."""
    from ..engine.jobs.prepare import prepare

    run, job = open_interrupted(folder, "prune", context)
    asked.machines.start_together(context)
    ready = prepare(job)
    say_aim(asked.show, ready)
    _see_through(asked, ready, run, resume=True)


def _see_through(asked: Asked, ready: "Prepared", run: "Run", *, resume: bool = False) -> None:
    from ..engine.jobs.run import run_pruning

    pruning = ready.job.parts
    outcome = see_through(asked.show, run_pruning(ready, run, resume=resume), run, "prune")
    asked.show.json(facts_of(pruning, outcome, outcome.path))
    show_outcome(asked.show, pruning, outcome)


def _beside(file: Path | None, arch: str | None) -> Path:
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


def _found(asked: Asked) -> "Source":
    return find(
        *(asked.show, asked.file, asked.network.arch, asked.images.images()),
        num_classes=asked.num_classes,
        reach=asked.reach,
        seed=asked.machines.seed,
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
    if "scratch" in heard_by(asked.way):
        ways_out.append("start from random weights with --scratch")
    raise EngineError(
        f"{what} starts from a trained network, and there is none of {arch}; "
        f"{', '.join(ways_out[:-1])}, or {ways_out[-1]}"
    )
