"""`prune finetune`: train a narrow network further."""

from typing import Annotated

import typer

from . import options as opt
from .grouped import grouped
from .recipe_option import check_recipe
from .spelling import typed


@grouped
def command(
    context: typer.Context,
    file: opt.File = None,
    *,
    network: opt.Network,
    images: opt.Images,
    distillation: opt.Distillation,
    training: opt.Training,
    recalibrate: Annotated[opt.Recalibrate, opt.After("lr")] = 20,
    machines: opt.Machines,
    folder: opt.RunFolder,
    output: opt.Work,
) -> None:
    """Train a narrow network further.

    The images are those the file was last measured on, unless --dataset or --data-dir say otherwise. Batch
    norms are re-estimated first. Defaults: 30 epochs of SGD from learning rate 0.01, cosine. The run is a
    folder, in runs/ unless --out says otherwise; interrupted, it goes on with --resume FOLDER.

    A compensated network is trained gently: from learning rate 0.01, its batch norms stay as they were
    solved, and the network that it was cut from teaches it, if that still lies where it lay
    (--distill-alpha 0: nobody does).
    """
    show = output.show()
    from ..engine.jobs.gentle import gently
    from ..engine.jobs.job import Job
    from ..engine.network.files import load_network
    from .training import check_folder, resume_and_show, train_and_show

    machines.start_together(context)
    if folder.resume is not None:
        resume_and_show(show, folder.resume, "finetune", context)
        return
    if file is None:
        raise typer.BadParameter("name the weight file to train", param_hint="FILE")
    check_recipe(context, file, network.arch)
    job = Job(
        command="finetune",
        config=training.config(
            epochs=30, lr=0.01, seed=machines.seed, device=machines.device, **distillation.settings()
        ),
        images=images.images(),
        arch=network.arch,
        start=file,
        recipe=network.recipe,
        teacher=distillation.distill,
        teacher_arch=distillation.teacher_arch,
        recalibration=recalibrate,
    )
    check_folder(folder, file, distillation.distill)  # before anything is loaded
    loaded = load_network(file, network.arch, input_size=images.image_size)
    names = {"recalibrate": "recalibration"}
    job, notes = gently(job, loaded, [names.get(name, name) for name in typed(context)])
    train_and_show(show, job, folder, loaded, notes=(*loaded.notes, *notes))
