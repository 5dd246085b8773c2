"""`prune prune`: choose filters, remove them, and write the narrow network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt
from . import units
from .common import find, open_images, start
from .flops import cost_facts
from .show import Format, Out
from .specify import limits, specification

if TYPE_CHECKING:
    from ..engine.one_shot import Outcome

GROUP_COLUMNS: dict[str, Format] = {
    "layer": str,
    "channels": units.count,
    "kept": units.count,
    "removed": units.percent,
}
SUMMARY_COLUMNS: dict[str, Format] = {
    "": str,
    "MACs": units.large,
    "of MACs": str,
    "params": units.count,
    "of params": str,
    "top-1": units.accuracy,
}


def command(
    file: opt.OptionalFile = None,
    arch: opt.Arch = None,
    criterion: opt.Criterion = None,
    scores: opt.Scores = None,
    limit: opt.Limit = None,
    compress_rate: opt.CompressRate = None,
    keep_rate: opt.KeepRate = None,
    rate: opt.Rate = None,
    layer_rate: opt.LayerRate = None,
    rate_norm: opt.RateNorm = None,
    rate_dist: opt.RateDist = None,
    flops: opt.Flops = None,
    params: opt.Params = None,
    ranking: opt.Ranking = None,
    skip: opt.Skip = None,
    round_to: opt.RoundTo = None,
    min_channels: opt.MinChannels = None,
    max_rate: opt.MaxRate = None,
    residual: opt.Residual = None,
    plan: opt.Plan = None,
    plan_out: opt.PlanOut = None,
    recalibrate: Annotated[
        int,
        typer.Option(
            "--recalibrate", metavar="BATCHES", help="Training batches to re-estimate BN on; 0: none.", min=0
        ),
    ] = 20,
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    download: opt.Download = False,
    image_size: opt.ImageSize = None,
    num_classes: opt.NumClasses = None,
    batch_size: opt.BatchSize = None,
    eval_batch_size: opt.EvalBatchSize = None,
    workers: opt.Workers = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    seed: opt.Seed = 0,
    out: opt.OutFile = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Choose filters, remove them and write the narrow network.

    Say how much leaves with one of --flops, --params, --rate, --layer-rate, --compress-rate, --keep-rate,
    --rate-norm/--rate-dist or --plan; without any, half of the MACs stay (--flops 0.5). Which filters leave is
    said by --criterion (default: l1) or by --scores. Nothing is written unless the narrow network equals the
    masked one. With --dataset or --data-dir (or a network that says what it was measured on), batch norms are
    re-estimated and accuracies measured.
    """
    wanted = specification(locals())
    show = Out(json, quiet)
    from ..engine.allocation import plan as plans
    from ..engine.allocation.specification import Specification
    from ..engine.network import save_network
    from ..engine.one_shot import OneShot, run_one_shot
    from ..engine.sources import Images
    from ..weights.files import check_output
    from ..weights.formats import check_any

    if wanted is None:
        wanted = Specification(**limits(locals()), flops=0.5)
        show.note("nothing says how much is to leave: keeping half of the MACs (--flops 0.5)")
    job = OneShot(
        specification=wanted,
        criterion=criterion or "l1",
        scores=scores,
        limit=limit or 5,
        recalibration=recalibrate,
        batch_size=batch_size or 128,
        eval_batch_size=eval_batch_size or 256,
        seed=seed,
    )
    looks = job.needs_images
    path = out or _beside(file, arch)
    check_any(path, force)
    if plan_out is not None:
        check_output(plan_out, force)
    images = Images(dataset, data_dir, image_size, download, workers or 0)
    where = start(threads, device)
    source = find(show, file, arch, images, num_classes=num_classes, seed=seed)
    measurable = dataset or data_dir or (source.network.accuracy or {}).get("dataset")
    data = open_images(show, images, source) if measurable or looks else None
    outcome = show.progress(run_one_shot(source.network, job, data, where))

    save_network(path, outcome.network, force=force)
    if plan_out is not None:
        plans.write(plan_out, outcome.pruned.plan, force=force)
    _show(show, outcome, path)
    show.saved(path)
    if plan_out is not None:
        show.saved(plan_out)


def _beside(file: Path | None, arch: str | None) -> Path:
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
    rows = [[name, full, kept, 1 - kept / full] for name, (kept, full) in pruned.selection.counts.items()]
    show.table(f"{network.arch}, residual {pruned.residual}", GROUP_COLUMNS, rows)
    for line in pruned.selection.notes:
        show.warning(line)
    if pruned.selection.ignored:
        ignored = ", ".join(pruned.selection.ignored)
        show.note(
            f"rates without effect, their convs are left alone in --residual {pruned.residual}: {ignored}"
        )
    if pruned.pinned:
        pinned = "; ".join(f"{name} ({reason})" for name, reason in pruned.pinned.items())
        show.note(f"pinned: {pinned}")
    before, after = pruned.before, pruned.after
    tops = {stage: accuracy.top1 for stage, accuracy in outcome.accuracies.items()}
    summary = [
        ["before", before.macs, None, before.params, None, tops.get("before")],
        [
            "pruned",
            after.macs,
            units.change(after.macs, before.macs),
            after.params,
            units.change(after.params, before.params),
            tops.get("pruned"),
        ],
    ]
    if "recalibrated" in tops:
        summary.append(
            [
                "BN re-estimated",
                after.macs,
                units.change(after.macs, before.macs),
                after.params,
                units.change(after.params, before.params),
                tops["recalibrated"],
            ]
        )
    show.table("", SUMMARY_COLUMNS, summary)
    show.note(f"proven: narrow equals masked within {pruned.difference:.1e} (relative, float64)")
