"""`prune prune --method sketch`: fewer filters that sketch the old ones, measured, in one file."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .common import find, measurable, open_images
from .cost_facts import cost_facts
from .dry_run import show_dry_run
from .prune_one_shot import beside
from .prune_tables import show_costs, show_groups
from .prune_ways import Asked
from .recipe_option import hold_against_recipe
from .show import Out

if TYPE_CHECKING:
    from ..engine.jobs.one_shot import Outcome
    from ..engine.jobs.sketch import Sketch
    from ..engine.network.network import Network


def prune_sketch(asked: Asked) -> None:
    """Do it as it was asked."""
    show = asked.output.show()
    from ..engine.allocations import required
    from ..engine.jobs.sketch import run_sketch
    from ..engine.network.network import save_network
    from ..weights.files import check_distinct
    from ..weights.formats import check_any

    job = _job(asked)
    file, arch, force = asked.file, asked.network.arch, asked.folder.force
    path = asked.folder.out or beside(file, arch)
    check_any(path, force)
    check_distinct([path], [file])
    images = asked.images.images()
    where = asked.machines.start()
    source = find(show, file, arch, images, seed=asked.machines.seed)
    if asked.folder.dry_run:
        _preview(show, source.network, job, path)
        return
    data = open_images(show, images, source) if measurable(images, source) else None
    outcome = show.progress(run_sketch(source.network, job, data, where))
    wanted = required({"keep_rate": job.keep_rate, "skip": job.skip})
    hold_against_recipe(asked.context, show, outcome.network, wanted, outcome.pruned.after)

    save_network(path, outcome.network, force=force)
    _show(show, outcome, job, path)
    show.saved(path)


def _job(asked: Asked) -> "Sketch":
    """The job that the options describe.

    Raises:
        typer.BadParameter: no rates, or a residual mode that makes no sense here.
    """
    from ..engine.jobs.sketch import Sketch

    if asked.amount.keep_rate is None:
        raise typer.BadParameter("--method sketch needs --keep-rate, such as '[0.6]*27'", ctx=asked.context)
    if asked.amount.residual not in (None, "internal"):
        raise typer.BadParameter(
            f"--residual {asked.amount.residual} has no effect with --method sketch; leave it out",
            ctx=asked.context,
        )
    named = asked.sketching.settings()
    if asked.schedule.start_conv is not None:
        named["start_conv"] = asked.schedule.start_conv
    return Sketch(
        keep_rate=asked.amount.keep_rate,
        skip=tuple(asked.amount.skip or ()),
        recalibration=asked.recalibrate,
        batch_size=asked.training.batch_size or 128,
        eval_batch_size=asked.training.eval_batch_size or 256,
        seed=asked.machines.seed,
        recipe=asked.network.recipe,
        **named,
    )


def _preview(show: Out, network: "Network", job: "Sketch", path: Path) -> None:
    """What `run_sketch` would come to."""
    from ..engine.graph.cost import count
    from ..engine.graph.trace import trace
    from ..engine.jobs.sketch import sketchable

    channel_map = trace(network.model, network.input_size).map
    plan = sketchable(network, job, channel_map)
    after = count(channel_map, plan.removed(channel_map))
    show_dry_run(show, network.arch, path, before=count(channel_map), after=after, counts=plan.counts)


def _show(show: Out, outcome: "Outcome", job: "Sketch", path: Path) -> None:
    """The facts, once for machines and once as tables."""
    pruned, network = outcome.pruned, outcome.network
    show.json(
        {
            **cost_facts(network.arch, pruned.after, pruned.before),
            "path": path,
            "kept": pruned.kept,
            "sketched": list(pruned.selection.counts),
            "procedure": job.procedure,
            "weight_norm": job.weight_norm,
            "residual": pruned.residual,
            "pinned": pruned.pinned,
            "difference": pruned.difference,
            "accuracy": outcome.accuracies,
        }
    )
    show_groups(show, f"{network.arch}, sketched as {job.procedure}", pruned.selection.counts)
    reasons: dict[str, list[str]] = {}
    for name, reason in pruned.pinned.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        show.note(f"not sketched, {reason}: {', '.join(names)}")
    stages = {"sketched": "pruned", "BN re-estimated": "recalibrated"}
    show_costs(show, pruned.before, pruned.after, outcome.accuracies, stages)
    show.note(f"proven: read back from a file, it differs by {pruned.difference:.1e} (relative, float64)")
