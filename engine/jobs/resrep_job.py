"""What a run of ResRep is made of, as its folder keeps it, and the authors' own settings."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data import ImageData
from ..errors import AllocationError, TrainingError
from ..network.network import Network
from ..network.sources import Images
from ..runs.runs import Run
from ..schedules.gradient_resetting import Penalty
from ..selection.selection import Residual
from ..training.config import TrainConfig
from .stored import images_of, stored_images, training_of

RESIDUALS = ("internal", "coupled")
SMALL_IMAGES = 64  # pixels; up to here the authors' settings for CIFAR are taken, above those for ImageNet


def published(input_size: tuple[int, ...]) -> tuple[TrainConfig, Penalty]:
    """The authors' settings for images of this size: how they train, and how they mask.

    Ding et al., ICCV 2021, arXiv 2007.03260, section 4.
    """
    small = input_size[-1] <= SMALL_IMAGES
    config = TrainConfig(
        epochs=480 if small else 180,
        lr=0.01,
        batch_size=64 if small else 256,
        weight_decay=1e-4,
        decay_rule="resrep",
    )
    return config, Penalty(flops_target=0.471 if small else 0.455)


@dataclass(frozen=True, kw_only=True)
class ResRepJob:
    """Everything a run is made of; `config.json` holds exactly this.

    Attributes:
        start: the file of the trained network.
        arch: needed only if the file does not say it.
        residual: `internal` leaves residual streams alone, `coupled` narrows them as a whole.
        skip: globs of layers to leave alone.
        recipe: the published row that the settings are from; only remembered.
    """

    start: Path
    config: TrainConfig
    penalty: Penalty
    images: Images
    arch: str | None = None
    residual: Residual = "internal"
    skip: tuple[str, ...] = ()
    recipe: str | None = None

    def __post_init__(self) -> None:
        """Refuse a residual mode in which compactors cannot be placed.

        Raises:
            AllocationError: names it.
        """
        if self.residual not in RESIDUALS:
            raise AllocationError(
                f"--method resrep knows no --residual {self.residual}; choose {' or '.join(RESIDUALS)}"
            )

    def settings(self, network: Network, data: ImageData) -> dict[str, Any]:
        """All fields, for `config.json`, what was left unsaid filled in."""
        return {
            "command": "prune",
            "method": "resrep",
            "arch": network.arch,
            "dataset": data.info.name,
            "start": str(self.start.resolve()),
            "residual": self.residual,
            "skip": list(self.skip),
            "recipe": self.recipe,
            "penalty": asdict(self.penalty),
            "images": stored_images(self.images, data),
            "training": asdict(self.config),
        }

    @classmethod
    def of_run(cls, run: Run) -> "ResRepJob":
        """The job that a run folder describes.

        Raises:
            TrainingError: its `config.json` describes another, or none.
        """
        known = run.config
        if known.get("method") != "resrep":
            raise TrainingError(
                f"{run.folder} is a run of {known.get('command')}, not of prune --method resrep; "
                "resume it with its own command"
            )
        try:
            return cls(
                start=Path(known["start"]),
                config=training_of(known["training"]),
                penalty=Penalty(**known["penalty"]),
                images=images_of(known["images"]),
                arch=known["arch"],
                residual=known["residual"],
                skip=tuple(known["skip"]),
                recipe=known.get("recipe"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{run.folder}/config.json describes no run of ResRep: {error}") from error
