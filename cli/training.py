"""What `train-base` and `finetune` share: from options to a job, and from events to a summary."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import units
from .show import Out

if TYPE_CHECKING:
    from ..engine.events import Finished
    from ..engine.training.config import TrainConfig
    from ..engine.training.job import TrainingJob

TRAINING_OPTIONS = (
    "batch_size",
    "eval_batch_size",
    "momentum",
    "weight_decay",
    "decay_rule",
    "nesterov",
    "schedule",
    "milestones",
    "gamma",
    "warmup_epochs",
    "label_smoothing",
    "precision",
)


def training_config(options: dict[str, Any], *, epochs: int, lr: float, **more: Any) -> "TrainConfig":
    """A training's settings from a command's local variables; the engine's defaults where nothing was given."""
    from ..engine.training.config import TrainConfig

    given = {name: options[name] for name in TRAINING_OPTIONS if options[name] is not None}
    if "milestones" in given:
        given.setdefault("schedule", "multistep")
    return TrainConfig(
        epochs=options["epochs"] or epochs,
        lr=options["lr"] if options["lr"] is not None else lr,
        augment=not options["no_augment"],
        seed=options["seed"],
        device=options["device"],
        **more,
        **given,
    )


def train_and_show(out: Out, job: "TrainingJob", folder: Path | None, force: bool) -> None:
    """Begin a run, in a new folder if none is given, and see it through."""
    from ..engine.sources import RUNS
    from ..engine.training.job import prepare, run_training
    from ..engine.training.runs import Run, next_run_folder

    if folder is not None:
        Run.check_free(folder, force)
    ready = prepare(job)
    name = f"{job.command}-{ready.network.arch.replace(':', '-')}-{ready.data.info.name}"
    run = Run.create(folder or next_run_folder(RUNS, name), job.settings(ready.network, ready.data), force)
    _see_through(out, run_training(ready, run), run.folder, job.command)


def resume_and_show(out: Out, folder: Path, command: str) -> None:
    """Go on with an interrupted run, with the settings it was begun with."""
    from ..engine.errors import TrainingError
    from ..engine.training.job import TrainingJob, prepare, run_training
    from ..engine.training.runs import Run

    run = Run.open(folder)
    job = TrainingJob.of_run(run)
    if job.command != command:
        raise TrainingError(
            f"{folder} is a run of {job.command}; resume it with: prune {job.command} --resume {folder}"
        )
    if run.report.exists():
        raise TrainingError(f"{folder} is finished: its networks are {run.best} and {run.final}")
    _see_through(out, run_training(prepare(job), run, resume=True), folder, command)


def _see_through(out: Out, events: Any, folder: Path, command: str) -> None:
    try:
        finished: Finished = out.progress(events)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"go on with: prune {command} --resume {folder}")
        raise
    out.json(finished)
    rows = [
        [
            "best",
            folder / "best.hdf5",
            finished.best_epoch,
            finished.best.top1,
            finished.best.top5,
            finished.best.loss,
        ],
        [
            "final",
            folder / "final.hdf5",
            finished.epochs,
            finished.final.top1,
            finished.final.top5,
            finished.final.loss,
        ],
    ]
    columns = {
        "": str,
        "file": str,
        "epoch": units.count,
        "top-1": units.accuracy,
        "top-5": units.accuracy,
        "loss": units.real,
    }
    out.table("", columns, rows)
