"""`prune prune --method resrep`: compactors are trained until enough of their rows are zero, then folded."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import units
from .common import find, images_of, start_together
from .dry_run import folder_of, show_dry_run
from .flops import cost_facts
from .prune_tables import SUMMARY_COLUMNS, cost_cells, show_groups
from .prune_ways import PENALTY
from .show import Out
from .training import begin_run, check_folder, run_name, see_through

if TYPE_CHECKING:
    from ..engine.jobs.resrep import Outcome, Prepared
    from ..engine.jobs.resrep_job import ResRepJob


def prune_resrep(context: typer.Context, options: dict[str, Any]) -> None:
    """Begin a run with the command's local variables, or go on with one, and see it through."""
    show = Out(options["json"], options["quiet"])
    start_together(context, options["threads"], options["device"], options["nproc"])
    from ..engine.errors import TrainingError
    from ..engine.jobs.resrep import prepare, run_resrep
    from ..engine.jobs.resrep_job import ResRepJob
    from ..engine.runs.runs import Run

    folder, force, resume = options["out"], options["force"], options["resume"]
    if resume is not None:
        run = Run.open(resume)
        job = ResRepJob.of_run(run)
        if run.report.exists():
            raise TrainingError(f"{resume} is finished: its networks are {run.final} and {run.deploy}")
        ready = prepare(job)
    else:
        job = _job(show, options)
        check_folder(folder, [job.start], force)
        ready = prepare(job)
        name = run_name("resrep", ready.network, ready.data)
        if options["dry_run"]:
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


def _job(show: Out, options: dict[str, Any]) -> "ResRepJob":
    """The authors' settings for images of that size, but for what the options say."""
    from ..engine.errors import EngineError
    from ..engine.jobs.resrep_job import ResRepJob, published

    images = images_of(options)
    source = find(show, options["file"], options["arch"], images)
    if not source.trained:
        raise EngineError(
            f"ResRep starts from a trained network, and there is none of {source.network.arch}; train one "
            f"with `prune train-base --arch {source.network.arch}`, or name a file"
        )
    config, penalty = published(source.network.input_size)
    training = _given(options, ("epochs", "lr", "weight_decay", "batch_size", "eval_batch_size", "precision"))
    training |= _given(options, ("sync_bn",)) | {"seed": options["seed"], "device": options["device"]}
    masks = _given(options, PENALTY)
    if options["flops"] is not None:
        masks["flops_target"] = options["flops"]
    return ResRepJob(
        start=Path(source.network.origin),
        config=dataclasses.replace(config, augment=not options["no_augment"], **training),
        penalty=dataclasses.replace(penalty, **masks),
        images=images,
        arch=options["arch"] if options["file"] is not None else None,
        residual=options["residual"] or "internal",
        skip=tuple(options["skip"] or ()),
        recipe=options["recipe"],
    )


def _given(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}


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
