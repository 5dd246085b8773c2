"""`prune finetune`: train a narrow network further."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt
from .common import images_of, start_together
from .recipe_option import check_recipe
from .show import Out
from .training import resume_and_show, train_and_show, training_config


def command(
    context: typer.Context,
    file: opt.OptionalFile = None,
    arch: opt.Arch = None,
    recipe: opt.Recipe = None,
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    download: opt.Download = False,
    image_size: opt.ImageSize = None,
    epochs: opt.Epochs = None,
    lr: opt.Lr = None,
    distill: Annotated[
        Path | None,
        typer.Option(
            "--distill", metavar="FILE", help="Learn the answers of this network too.", show_default=False
        ),
    ] = None,
    distill_alpha: Annotated[
        float | None,
        typer.Option("--distill-alpha", metavar="SHARE", help="Its share of the loss. Default: 0.5."),
    ] = None,
    distill_temperature: Annotated[
        float | None,
        typer.Option("--distill-temperature", metavar="T", help="How much answers are softened. Default: 4."),
    ] = None,
    recalibrate: opt.Recalibrate = 20,
    batch_size: opt.BatchSize = None,
    eval_batch_size: opt.EvalBatchSize = None,
    workers: opt.Workers = None,
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
    out: opt.OutFolder = None,
    resume: opt.Resume = None,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a narrow network further.

    The images are those the file was last measured on, unless --dataset or --data-dir say otherwise. Batch
    norms are re-estimated first. Defaults: 30 epochs of SGD from learning rate 0.01, cosine. The run is a
    folder, in runs/ unless --out says otherwise; interrupted, it goes on with --resume FOLDER.
    """
    show = Out(json, quiet)
    from ..engine.jobs.training import TrainingJob

    start_together(context, threads, device, nproc)
    if resume is not None:
        resume_and_show(show, resume, "finetune", context)
        return
    if file is None:
        raise typer.BadParameter("name the weight file to train", param_hint="FILE")
    check_recipe(context, file, arch)
    if distill is None and (distill_alpha, distill_temperature) != (None, None):
        raise typer.BadParameter("--distill-alpha and --distill-temperature need a network: --distill FILE")
    if distill_alpha is not None and not 0 < distill_alpha <= 1:
        raise typer.BadParameter(
            f"{distill_alpha:g} is no share above 0 and up to 1", param_hint="--distill-alpha"
        )
    teaching = {}
    if distill is not None:
        teaching = {
            "distill_alpha": 0.5 if distill_alpha is None else distill_alpha,
            "distill_temperature": 4.0 if distill_temperature is None else distill_temperature,
        }
    job = TrainingJob(
        command="finetune",
        config=training_config(locals(), epochs=30, lr=0.01, **teaching),
        images=images_of(locals()),
        arch=arch,
        start=file,
        recipe=recipe,
        teacher=distill,
        recalibration=recalibrate,
    )
    train_and_show(show, job, out, force, dry_run=dry_run)
