"""`prune prune --method resrep`: compactors are trained until enough of their rows are zero, then folded."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from . import units
from .common import find
from .cost_facts import cost_facts
from .dry_run import folder_of, show_dry_run
from .prune_tables import SUMMARY_COLUMNS, cost_cells, show_groups
from .prune_ways import Asked
from .show import Out
from .training import begin_run, check_folder, run_name, see_through

if TYPE_CHECKING:
    from ..engine.jobs.resrep import Outcome, Prepared
    from ..engine.jobs.resrep_job import ResRepJob

# Of what a training can be told, what ResRep's does not say itself.
LISTENED_TO = (
    "epochs",
    "lr",
    "weight_decay",
    "batch_size",
    "eval_batch_size",
    "precision",
    "sync_bn",
    "augment",
)


def prune_resrep(asked: Asked) -> None:
    """Begin a run as it was asked, or go on with one, and see it through."""
    show = asked.output.show()
    asked.machines.start_together(asked.context)
    from ..engine.errors import TrainingError
    from ..engine.jobs.resrep import prepare, run_resrep
    from ..engine.jobs.resrep_job import ResRepJob
    from ..engine.runs.runs import Run

    folder, force, resume = asked.folder.out, asked.folder.force, asked.folder.resume
    if resume is not None:
        run = Run.open(resume)
        job = ResRepJob.of_run(run)
        if run.report.exists():
            raise TrainingError(f"{resume} is finished: its networks are {run.final} and {run.deploy}")
        ready = prepare(job)
    else:
        job = _job(show, asked)
        check_folder(folder, [job.start], force)
        ready = prepare(job)
        name = run_name("resrep", ready.network, ready.data)
        if asked.folder.dry_run:
            _say_aim(show, ready)
            arch, path = ready.network.arch, folder_of(folder, name)
            show_dry_run(show, arch, path, before=ready.before, config=job.config, data=ready.data)
            return
        run = begin_run(folder, name, job.settings(ready.network, ready.data), force)
    _say_aim(show, ready)
    outcome = see_through(show, run_resrep(ready, run, resume=resume is not None), run.folder, "prune")
    _show(show, outcome, ready)


def _say_aim(show: Out, ready: "Prepared") -> None:
    show.note(
        f"{len(ready.sites)} compactors, --residual {ready.job.residual}; "
        f"{units.large(ready.rule.target)} of {units.large(ready.before.macs)} MACs are to stay"
    )


def _job(show: Out, asked: Asked) -> "ResRepJob":
    """The authors' settings for images of that size, but for what the options say."""
    from ..engine.errors import EngineError
    from ..engine.jobs.resrep_job import ResRepJob, published

    images = asked.images.images()
    source = find(show, asked.file, asked.network.arch, images)
    if not source.trained:
        raise EngineError(
            f"ResRep starts from a trained network, and there is none of {source.network.arch}; train one "
            f"with `prune train-base --arch {source.network.arch}`, or name a file"
        )
    config, penalty = published(source.network.input_size)
    said = asked.training.settings()
    training = {name: said[name] for name in LISTENED_TO if name in said}
    masks = asked.masks.settings()
    if asked.amount.flops is not None:
        masks["flops_target"] = asked.amount.flops
    return ResRepJob(
        start=Path(source.network.origin),
        config=dataclasses.replace(
            config, seed=asked.machines.seed, device=asked.machines.device, **training
        ),
        penalty=dataclasses.replace(penalty, **masks),
        images=images,
        arch=asked.network.arch if asked.file is not None else None,
        residual=asked.amount.residual or "internal",
        skip=tuple(asked.amount.skip or ()),
        recipe=asked.network.recipe,
    )


def _show(show: Out, outcome: "Outcome", ready: "Prepared") -> None:
    """The facts, once for machines and once as tables."""
    from ..engine.compactors.folding import THRESHOLD

    before, after, folded = outcome.before, outcome.after, outcome.folded
    arch, residual = outcome.network.arch, ready.job.residual
    show.json(
        {
            **cost_facts(arch, after, before),
            "path": outcome.path,
            "kept": folded.kept,
            "residual": residual,
            "pinned": ready.refused,
            "difference": folded.error,
            "cost_of_dropping": folded.cost,
            "target": outcome.target,
            "lingering_rows": outcome.lingering,
            "accuracy": outcome.accuracies,
        }
    )
    if folded.widths:
        counts = {name: (kept, full) for name, (full, kept) in folded.widths.items()}
        show_groups(show, f"{arch}, residual {residual}", counts)
    tops = {stage: accuracy.top1 for stage, accuracy in outcome.accuracies.items()}
    summary = [
        ["before", before.macs, None, before.params, None, tops["before"]],
        ["trained, with compactors", None, None, None, None, tops["trained"]],
        ["folded", *cost_cells(before, after), tops["folded"]],
    ]
    show.table("", SUMMARY_COLUMNS, summary)
    for line in folded.notes:
        show.note(line)
    if outcome.lingering:
        show.warning(
            f"{units.count(outcome.lingering)} masked rows are still longer than {THRESHOLD:g} and stay: the "
            f"folded network has {units.large(after.macs)} MACs, the masks would leave "
            f"{units.large(outcome.masked)}; train longer, or with a stronger --lasso"
        )
    if after.macs > outcome.target:
        show.warning(
            f"the target of {units.large(outcome.target)} MACs is missed: the folded network has "
            f"{units.large(after.macs)}"
        )
    if tops["folded"] != tops["trained"]:
        show.warning(
            f"folding changed the accuracy by {units.points(tops['folded'] - tops['trained'])} points: rows "
            f"were dropped that are short but not zero (logits move by {folded.cost:.1e})"
        )
    show.note(
        f"proven: folded equals trained within {folded.error:.1e} (relative); that dropped rows were not "
        f"quite zero costs {folded.cost:.1e}"
    )
