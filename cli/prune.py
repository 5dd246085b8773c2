"""`prune prune`: choose filters, remove them, and write the narrow network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt
from .common import find, open_images, start
from .flops import cost_facts
from .prune_resrep import check_method, prune_resrep
from .prune_tables import GROUP_COLUMNS, SUMMARY_COLUMNS
from .show import Out
from .specify import limits, specification

if TYPE_CHECKING:
    from ..engine.allocation.specification import Specification
    from ..engine.one_shot import Outcome


def command(
    context: typer.Context,
    file: opt.OptionalFile = None,
    arch: opt.Arch = None,
    method: opt.Method = "one-shot",
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
    deps: opt.Deps = None,
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
    lasso: opt.Lasso = None,
    mask_after: opt.MaskAfter = None,
    mask_interval: opt.MaskInterval = None,
    granularity: opt.Granularity = None,
    epochs: opt.Epochs = None,
    lr: opt.Lr = None,
    weight_decay: opt.WeightDecay = None,
    no_augment: opt.NoAugment = None,
    precision: opt.Precision = None,
    sync_bn: opt.SyncBn = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    nproc: opt.Nproc = None,
    seed: opt.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="File to write; with --method resrep, folder of the run.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FOLDER",
            help="Go on with this interrupted run of ResRep.",
            show_default=False,
        ),
    ] = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Choose filters, remove them and write the narrow network.

    Say how much leaves with one of --flops, --params, --rate, --layer-rate, --compress-rate, --keep-rate,
    --rate-norm/--rate-dist, --deps or --plan; without any, half of the MACs stay (--flops 0.5). Which filters
    leave is said by --criterion (default: l1) or by --scores. Nothing is written unless the narrow network
    equals the masked one. With --dataset or --data-dir (or a network that says what it was measured on),
    batch norms are re-estimated and accuracies measured.

    --method resrep trains instead: compactors behind the convolutions lose rows until --flops of the MACs
    stay, and are folded away. Defaults are the authors': --flops 0.471, 480 epochs, batches of 64, learning
    rate 0.01, weight decay 0.0001; for images above 64 pixels 0.455, 180 epochs, batches of 256. The run is a
    folder, with the narrow network in deploy.hdf5; interrupted, it goes on with --resume FOLDER.
    """
    if method == "resrep" or resume is not None:
        if resume is None:
            check_method(context, method)
        prune_resrep(context, locals())
        return
    check_method(context, method)
    wanted = specification(locals())
    show = Out(json, quiet)
    from ..engine.allocation import plan as plans
    from ..engine.allocation.specification import Specification
    from ..engine.network import save_network
    from ..engine.one_shot import OneShot, run_one_shot
    from ..engine.sources import Images
    from ..weights.files import check_distinct, check_output
    from ..weights.formats import check_any

    if wanted is None:
        show.note("nothing says how much is to leave: keeping half of the MACs (--flops 0.5)")
        wanted = Specification(**limits(locals()), flops=0.5)
    _refuse_scoring_without_effect(wanted, criterion, scores)
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
    check_distinct([path, plan_out], [file, scores, plan])
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


def _refuse_scoring_without_effect(
    wanted: "Specification", criterion: str | None, scores: Path | None
) -> None:
    if criterion and scores:
        raise typer.BadParameter("--criterion and --scores exclude each other")
    if (criterion or scores) and not wanted.needs_scores:
        given = "--criterion" if criterion else "--scores"
        raise typer.BadParameter(f"{given} has no effect with {wanted.ways[0]}; leave out one of them")


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
            after.macs / before.macs - 1,
            after.params,
            after.params / before.params - 1,
            tops.get("pruned"),
        ],
    ]
    if "recalibrated" in tops:
        summary.append(
            [
                "BN re-estimated",
                after.macs,
                after.macs / before.macs - 1,
                after.params,
                after.params / before.params - 1,
                tops["recalibrated"],
            ]
        )
    show.table("", SUMMARY_COLUMNS, summary)
    show.note(f"proven: narrow equals masked within {pruned.difference:.1e} (relative, float64)")
