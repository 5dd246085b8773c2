"""`prune train-base`: train a base network."""

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
    arch: opt.Arch = None,
    recipe: opt.Recipe = None,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="FILE",
            help="Train the network of this file, as narrow as it is there, from fresh random weights.",
            rich_help_panel="Network",
            show_default=False,
        ),
    ] = None,
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    download: opt.Download = False,
    image_size: opt.ImageSize = None,
    num_classes: opt.NumClasses = None,
    epochs: opt.Epochs = None,
    lr: opt.Lr = None,
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
    """Train a base network.

    The images are --dataset (default: digits), or the folder --data-dir. Defaults: 100 epochs of SGD from
    learning rate 0.1, cosine. With --like, a pruned network is trained from scratch. The run is a folder, in
    runs/ unless --out says otherwise, with best.hdf5 and final.hdf5; interrupted, it goes on with --resume
    FOLDER.
    """
    show = Out(json, quiet)
    from ..engine.jobs.training import TrainingJob

    start_together(context, threads, device, nproc)
    if resume is not None:
        resume_and_show(show, resume, "train-base", context)
        return
    check_recipe(context, like, arch)
    job = TrainingJob(
        command="train-base",
        config=training_config(locals(), epochs=100, lr=0.1),
        images=images_of(locals()),
        arch=arch,
        like=like,
        num_classes=num_classes,
        recipe=recipe,
    )
    train_and_show(show, job, out, force, dry_run=dry_run)
