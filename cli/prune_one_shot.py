"""`prune prune --schedule one-shot`: score, remove at once, prove, measure, and write one file."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .common import find, measurable, open_images
from .cost_facts import cost_facts
from .dry_run import show_dry_run
from .prune_tables import note_ignored, show_costs, show_groups
from .prune_ways import Asked
from .recipe_option import hold_against_recipe
from .show import Out

if TYPE_CHECKING:
    from ..engine.jobs.one_shot import OneShot, Outcome
    from ..engine.network.network import Network
    from ..engine.selection.allocation import Allocation


def prune_one_shot(asked: Asked) -> None:
    """Do it as it was asked."""
    show = asked.output.show()
    from ..engine.jobs.one_shot import OneShot, run_one_shot
    from ..engine.network.network import save_network
    from ..engine.selection import plan as plans
    from ..weights.files import check_distinct, check_output
    from ..weights.formats import check_any

    wanted = wanted_or_half(show, asked)
    file, scores, force, plan_out = asked.file, asked.scoring.scores, asked.folder.force, asked.plan_out
    refuse_scoring_without_effect(wanted, asked.scoring.criterion, scores)
    job = OneShot(
        specification=wanted,
        criterion=asked.scoring.criterion or "l1",
        scores=scores,
        limit=asked.scoring.limit or 5,
        recalibration=asked.recalibrate,
        batch_size=asked.training.batch_size or 128,
        eval_batch_size=asked.training.eval_batch_size or 256,
        seed=asked.machines.seed,
        recipe=asked.network.recipe,
    )
    path = asked.folder.out or beside(file, asked.network.arch)
    check_any(path, force)
    if plan_out is not None:
        check_output(plan_out, force)
    check_distinct([path, plan_out], [file, scores, asked.amount.plan])
    images = asked.images.images()
    where = asked.machines.start()
    source = find(
        show, file, asked.network.arch, images, num_classes=asked.num_classes, seed=asked.machines.seed
    )
    data = open_images(show, images, source) if measurable(images, source) or job.needs_images else None
    if asked.folder.dry_run:
        _preview(show, source.network, job, path)
        return
    outcome = show.progress(run_one_shot(source.network, job, data, where))
    hold_against_recipe(asked.context, show, outcome.network, wanted, outcome.pruned.after)

    save_network(path, outcome.network, force=force)
    if plan_out is not None:
        plans.write(plan_out, outcome.pruned.plan, force=force)
    _show(show, outcome, path)
    show.saved(path)
    if plan_out is not None:
        show.saved(plan_out)


def _preview(show: Out, network: "Network", job: "OneShot", path: Path) -> None:
    """What `run_one_shot` would come to: how many leave is known without scores."""
    from ..engine import criteria
    from ..engine.graph.trace import trace
    from ..engine.narrowing.pruning import forecast
    from ..engine.scores.score_file import load_scores

    criteria.get(job.criterion)
    traced = trace(network.model, network.input_size)
    if job.scores is not None:
        load_scores(job.scores, traced.map)
    expected = forecast(network, job.specification, traced)
    show_dry_run(
        show,
        network.arch,
        path,
        before=expected.before,
        after=expected.after,
        counts=expected.selection.counts,
        wanted=job.specification,
    )


def wanted_or_half(show: Out, asked: Asked) -> "Allocation":
    """What the options ask for; half of the MACs where they do not say."""
    from ..engine.allocations import required

    wanted = asked.amount.allocation()
    if wanted is None:
        show.note("nothing says how much is to leave: keeping half of the MACs (--flops 0.5)")
        wanted = required({**asked.amount.settings(), "flops": 0.5})
    return wanted


def refuse_scoring_without_effect(wanted: "Allocation", criterion: str | None, scores: Path | None) -> None:
    """Scores come from one place, and only where they matter.

    Raises:
        typer.BadParameter: two places, or none that matters.
    """
    if criterion and scores:
        raise typer.BadParameter("--criterion and --scores exclude each other")
    if (criterion or scores) and not wanted.needs_scores:
        given = "--criterion" if criterion else "--scores"
        raise typer.BadParameter(f"{given} has no effect with {wanted.way}; leave out one of them")


def beside(file: Path | None, arch: str | None) -> Path:
    """The default output: in the current folder, named after the network."""
    name = file.stem if file is not None else (arch or "network").replace(":", "-")
    return Path(f"{name}-pruned.hdf5")


def _show(show: Out, outcome: "Outcome", path: Path) -> None:
    """The facts, once for machines and once as tables."""
    pruned, network = outcome.pruned, outcome.network
    show.json(
        {
            **cost_facts(network.arch, pruned.after, pruned.before),
            "path": path,
            "kept": pruned.kept,
            "residual": pruned.residual,
            "pinned": pruned.pinned,
            "ignored": pruned.selection.ignored,
            "difference": pruned.difference,
            "accuracy": outcome.accuracies,
        }
    )
    show_groups(show, f"{network.arch}, residual {pruned.residual}", pruned.selection.counts)
    for line in pruned.selection.notes:
        show.warning(line)
    note_ignored(show, pruned.selection.ignored)
    if pruned.pinned:
        pinned = "; ".join(f"{name} ({reason})" for name, reason in pruned.pinned.items())
        show.note(f"pinned: {pinned}")
    stages = {"pruned": "pruned", "BN re-estimated": "recalibrated"}
    show_costs(show, pruned.before, pruned.after, outcome.accuracies, stages)
    show.note(f"proven: narrow equals masked within {pruned.difference:.1e} (relative, float64)")
