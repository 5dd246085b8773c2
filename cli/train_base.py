"""`prune train-base`: train a base network."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt
from .grouped import grouped
from .options.group import option
from .recipe_option import check_recipe


@grouped
def command(
    context: typer.Context,
    *,
    network: opt.Network,
    like: Annotated[
        Path | None,
        option(
            "Network",
            "--like",
            "FILE",
            "Train the network of this file, as narrow as it is there, from fresh random weights.",
        ),
        opt.Weights(),
    ] = None,
    images: opt.Images,
    num_classes: opt.NumClasses = None,
    training: opt.Training,
    machines: opt.Machines,
    folder: opt.RunFolder,
    output: opt.Work,
) -> None:
    """Train a base network.

    The images are --dataset (default: digits), or the folder --data-dir. Defaults: 100 epochs of SGD from
    learning rate 0.1, cosine. With --like, a pruned network is trained from scratch. The run is a folder, in
    runs/ unless --out says otherwise, with best.hdf5 and final.hdf5; interrupted, it goes on with --resume
    FOLDER.
    """
    show = output.show()
    from ..engine.jobs.job import Job
    from .training import resume_and_show, train_and_show

    machines.start_together(context)
    if folder.resume is not None:
        resume_and_show(show, folder.resume, "train-base", context)
        return
    check_recipe(context, like, network.arch)
    job = Job(
        command="train-base",
        config=training.config(epochs=100, lr=0.1, seed=machines.seed, device=machines.device),
        images=images.images(),
        arch=network.arch,
        like=like,
        num_classes=num_classes,
        recipe=network.recipe,
    )
    train_and_show(show, job, folder)
