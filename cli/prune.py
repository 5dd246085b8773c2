"""`prune prune`: choose filters, remove them, and write the narrow network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as opt
from .prune_ways import check_way
from .recipe_option import check_recipe
from .training import keep_settings


def command(
    context: typer.Context,
    file: opt.OptionalFile = None,
    arch: opt.Arch = None,
    recipe: opt.Recipe = None,
    method: opt.Method = "select",
    schedule: opt.Schedule = "one-shot",
    criterion: opt.Criterion = None,
    scores: opt.Scores = None,
    limit: opt.Limit = None,
    compress_rate: opt.CompressRate = None,
    keep_rate: opt.KeepRate = None,
    rate: opt.Rate = None,
    layer_rate: opt.LayerRate = None,
    rate_norm: opt.RateNorm = None,
    rate_dist: opt.RateDist = None,
    distance: opt.Distance = None,
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
    start_conv: opt.StartConv = None,
    prune_every: opt.PruneEvery = None,
    scratch: opt.Scratch = False,
    procedure: opt.Procedure = None,
    weight_norm: opt.WeightNorm = None,
    recalibrate: opt.Recalibrate = 20,
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
    momentum: opt.Momentum = None,
    weight_decay: opt.WeightDecay = None,
    decay_rule: opt.DecayRule = None,
    nesterov: opt.Nesterov = None,
    lr_schedule: opt.LrSchedule = None,
    milestones: opt.Milestones = None,
    gamma: opt.Gamma = None,
    warmup_epochs: opt.WarmupEpochs = None,
    label_smoothing: opt.LabelSmoothing = None,
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
            help="File to write; where it trains, folder of the run.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    resume: opt.Resume = None,
    dry_run: opt.DryRun = False,
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

    --schedule layer-by-layer masks one layer, trains --epochs, and goes on to the next; soft and hard mask
    all layers anew every --prune-every epochs of one training. --method sketch replaces filters by a sketch
    of them (--keep-rate). --method resrep trains compactors that lose rows until --flops of the MACs stay,
    and folds them away; defaults are the authors': --flops 0.471, 480 epochs, batches of 64, learning rate
    0.01, weight decay 0.0001; for images above 64 pixels 0.455, 180 epochs, batches of 256. Whatever trains
    keeps a folder, and goes on with --resume FOLDER when interrupted.
    """
    if resume is not None:
        _go_on(context, locals())
        return
    check_way(context, method, schedule)
    check_recipe(context, file, arch)
    if method == "resrep":
        from .prune_resrep import prune_resrep as go
    elif method == "sketch":
        from .prune_sketch import prune_sketch as go
    elif schedule == "one-shot":
        from .prune_one_shot import prune_one_shot as go
    else:
        from .prune_gradual import prune_gradually as go
    go(context, locals())


def _go_on(context: typer.Context, options: dict[str, Any]) -> None:
    """Resume a run the way it was begun."""
    keep_settings(context)
    from ..engine.runs.runs import Run

    if Run.open(options["resume"]).config.get("method") == "resrep":
        from .prune_resrep import prune_resrep as go
    else:
        from .prune_gradual import prune_gradually as go
    go(context, options)
