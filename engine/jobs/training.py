"""Training a network as a job: what `train-base` and `finetune` do, from settings that a run folder keeps."""

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..data import DataInfo, ImageData
from ..devices import resolve_device
from ..errors import DataError, TrainingError
from ..events import Accuracy, Event, Finished, Note
from ..measure.recalibrate import recalibrate
from ..network.fresh import fresh_like
from ..network.network import Network, load_network, save_network
from ..network.sources import Images, check_match, random_network
from ..processes import distributed
from ..runs.runs import Run
from ..training.config import TrainConfig
from ..training.loop import train
from ..training.trainer import Save
from .one_shot import measured
from .stored import images_of, path_of, stored_images, training_of


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything a run is made of; `config.json` holds exactly this.

    Attributes:
        command: `train-base` (from random weights of `arch`) or `finetune` (from the file `start`).
        arch: needed for a file only if that does not say it.
        like: a file whose network is trained from random weights, with the widths it has there.
        teacher: a file whose answers are learnt too.
        recalibration: training batches to re-estimate batch norms on before finetuning; 0 leaves them.
        recipe: the published row that the settings are from; only remembered.
    """

    command: str
    config: TrainConfig
    images: Images
    arch: str | None = None
    start: Path | None = None
    like: Path | None = None
    teacher: Path | None = None
    num_classes: int | None = None
    recalibration: int = 20
    recipe: str | None = None

    def settings(self, network: Network, data: ImageData) -> dict[str, Any]:
        """All fields, for `config.json`, what was left unsaid filled in."""
        return {
            "command": self.command,
            "arch": network.arch,
            "dataset": data.info.name,
            "start": None if self.start is None else str(self.start.resolve()),
            "like": None if self.like is None else str(self.like.resolve()),
            "teacher": None if self.teacher is None else str(self.teacher.resolve()),
            "num_classes": network.num_classes,
            "recalibration": self.recalibration,
            "recipe": self.recipe,
            "images": stored_images(self.images, data),
            "training": asdict(self.config),
        }

    @classmethod
    def of_run(cls, run: Run) -> "TrainingJob":
        """The job that a run folder describes.

        Raises:
            TrainingError: its `config.json` describes none.
        """
        try:
            known = run.config
            return cls(
                command=known["command"],
                config=training_of(known["training"]),
                images=images_of(known["images"]),
                arch=known["arch"],
                start=path_of(known["start"]),
                like=path_of(known.get("like")),
                teacher=path_of(known["teacher"]),
                num_classes=known["num_classes"],
                recalibration=known["recalibration"],
                recipe=known.get("recipe"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{run.folder}/config.json describes no training run: {error}") from error


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job with its network, images and teacher at hand: nothing is left that could be missing."""

    job: TrainingJob
    network: Network
    data: ImageData
    teacher: Network | None


def prepare(job: TrainingJob) -> Prepared:
    """Find everything a job needs, and check that it goes together, before anything is written.

    Raises:
        EngineError, ArchError, WeightsError: the first thing that is missing or does not fit.
    """
    if job.start is not None:
        network = load_network(job.start, job.arch, input_size=job.images.image_size)
        data = job.images.open(network)
    elif job.like is not None:
        network = load_network(job.like, job.arch, input_size=job.images.image_size)
        if job.num_classes not in (None, network.num_classes):
            raise DataError(
                f"--num-classes {job.num_classes}, but '{job.like}' tells {network.num_classes} apart; "
                "leave that out"
            )
        network = fresh_like(network, job.config.seed)
        data = job.images.open(network)
    else:
        network, data = random_network(
            job.arch, job.images, num_classes=job.num_classes, seed=job.config.seed
        )
    teacher = None if job.teacher is None else load_network(job.teacher, input_size=job.images.image_size)
    if teacher is not None:
        check_match(teacher, data)
    for loaded in filter(None, (network, teacher)):
        require_finite(loaded)
    return Prepared(job, network, data, teacher)


def require_finite(network: Network) -> None:
    """Refuse a network that no training could mend.

    Raises:
        TrainingError: names the first tensor with NaN or infinity in it.
    """
    for name, tensor in network.model.state_dict().items():
        if not tensor.isfinite().all():
            raise TrainingError(
                f"'{network.origin}' holds NaN or infinity, the first in '{name}'; train from another"
            )


def run_training(ready: Prepared, run: Run, *, resume: bool = False) -> Generator[Event, None, Finished]:
    """Train; the run folder ends up with the best and the final network, each loading by itself.

    Raises:
        TrainingError: see `train`.
    """
    # A run that was interrupted before its first step begins now.
    resume = distributed.from_first(lambda: resume and run.begun)
    job, network, data = ready.job, ready.network, ready.data
    device = resolve_device(job.config.device)
    model = network.model.to(device)
    if ready.teacher is not None:
        ready.teacher.model.to(device)
    if job.start is not None and job.recalibration and not resume:
        batches = data.batches(
            "train",
            distributed.share_of(job.config.batch_size),
            device=device,
            shuffle_seed=job.config.seed,
            limit=job.recalibration,
            shard=distributed.shard(),
        )
        norms = recalibrate(model, batches)
        yield Note(f"re-estimated {norms} batch norms on {job.recalibration} batches")
    said = without_defaults(run.config["training"]) | ({"recipe": job.recipe} if job.recipe else {})
    trained = network.after(job.command, said, accuracy=None)
    save = saving(trained, data.info)
    teacher = ready.teacher.model if ready.teacher else None
    return (yield from train(model, data, job.config, run, save, teacher=teacher, resume=resume))


def saving(trained: Network, info: DataInfo) -> Save:
    """How `train` writes a network down: as `trained` is, with its weights and accuracy of that moment."""

    def save(path: Path, model: nn.Module, accuracy: Accuracy) -> None:
        save_network(path, measured(replace(trained, model=model), accuracy, info), force=True)

    return save


def without_defaults(training: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings of a training that say something, for the history."""
    plain = asdict(TrainConfig(epochs=1, lr=1.0))
    said = asdict(training_of(training))  # a resumed run has them from JSON, with lists for tuples
    return {name: v for name, v in said.items() if name in ("epochs", "lr") or v != plain[name]}
