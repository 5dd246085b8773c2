"""What a run of gradual pruning is made of, as its folder keeps it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import allocations, criteria
from ..data import ImageData
from ..errors import TrainingError
from ..network.network import Network
from ..network.sources import Images
from ..runs.runs import Run
from ..selection.allocation import Allocation
from ..training.config import TrainConfig
from .stored import images_of, path_of, stored_images, training_of

SCHEDULES = ("layer-by-layer", "soft", "hard")


@dataclass(frozen=True, kw_only=True)
class GradualJob:
    """Everything a run is made of; `config.json` holds exactly this.

    Attributes:
        schedule: `layer-by-layer` masks one convolution after the other and trains in between; `soft` and
            `hard` mask all of them anew every `prune_every` epochs of one training.
        config: of the training; layer by layer, of the training of each convolution.
        start: the file of the network; None is random weights of `arch`.
        arch: needed for a file only if that does not say it.
        criterion: how filters are scored, unless `scores` are saved ones.
        limit: batches to score on.
        start_conv: layer by layer: the first convolution to mask, by name or number.
        recipe: the published row that the settings are from; only remembered.
    """

    schedule: str
    specification: Allocation
    config: TrainConfig
    images: Images
    start: Path | None = None
    arch: str | None = None
    num_classes: int | None = None
    criterion: str = "l1"
    scores: Path | None = None
    limit: int = 5
    prune_every: int = 1
    start_conv: str | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        """Refuse what goes with no schedule, or not with this one.

        Raises:
            TrainingError: names the first such setting.
            CriterionError: there is no such criterion.
        """
        criteria.get(self.criterion)
        if self.schedule not in SCHEDULES:
            raise TrainingError(f"no schedule '{self.schedule}'; choose one of {', '.join(SCHEDULES)}")
        if self.by_layers:
            self._require_layers_fit()
        elif self.scores is not None:
            raise TrainingError(
                f"--scores has no effect with --schedule {self.schedule}, which scores filters anew as they "
                "learn; name a --criterion"
            )
        elif not 1 <= self.prune_every <= self.config.epochs:
            raise TrainingError(
                f"--prune-every {self.prune_every} is more than the {self.config.epochs} epochs there are; "
                f"give 1 to {self.config.epochs}"
            )

    @property
    def by_layers(self) -> bool:
        """Does one layer leave after the other?"""
        return self.schedule == "layer-by-layer"

    def _require_layers_fit(self) -> None:
        if self.start is None:
            raise TrainingError("--schedule layer-by-layer starts from a trained network; name its file")
        if self.start_conv is not None and self.specification.widths_depend_on_scores:
            raise TrainingError(
                "--start-conv has no effect with a budget, which counts on every conv; keep the earlier ones "
                "out of it with --skip"
            )

    def settings(self, network: Network, data: ImageData) -> dict[str, Any]:
        """All fields, for `config.json`, what was left unsaid filled in."""
        return {
            "command": "prune",
            "method": "select",
            "schedule": self.schedule,
            "arch": network.arch,
            "dataset": data.info.name,
            "start": None if self.start is None else str(self.start.resolve()),
            "num_classes": network.num_classes,
            "specification": allocations.stored(self.specification),
            "criterion": self.criterion,
            "scores": None if self.scores is None else str(self.scores.resolve()),
            "limit": self.limit,
            "prune_every": self.prune_every,
            "start_conv": self.start_conv,
            "recipe": self.recipe,
            "images": stored_images(self.images, data),
            "training": asdict(self.config),
        }

    @classmethod
    def of_run(cls, run: Run) -> "GradualJob":
        """The job that a run folder describes.

        Raises:
            TrainingError: its `config.json` describes another, or none.
        """
        known = run.config
        if known.get("schedule") not in SCHEDULES:
            raise TrainingError(
                f"{run.folder} is a run of {known.get('command')}, not of prune --schedule "
                f"{', '.join(SCHEDULES)}; resume it with its own command"
            )
        try:
            return cls(
                schedule=known["schedule"],
                specification=allocations.required(known["specification"]),
                config=training_of(known["training"]),
                images=images_of(known["images"]),
                start=path_of(known["start"]),
                arch=known["arch"],
                num_classes=known["num_classes"],
                criterion=known["criterion"],
                scores=path_of(known["scores"]),
                limit=known["limit"],
                prune_every=known["prune_every"],
                start_conv=known["start_conv"],
                recipe=known.get("recipe"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{run.folder}/config.json describes no gradual pruning: {error}") from error
