"""What a job is made of: a network, images, a training, and the four parts of a pruning method."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...weights import schema
from .. import allocations, criteria, schedules, transfers
from ..allocations.budget import Budget
from ..data import ImageData
from ..errors import AllocationError, CriterionError, TrainingError
from ..network.network import Network
from ..network.sources import Images
from ..parts import name_of
from ..runs.runs import Run
from ..schedules import Schedule
from ..schedules.one_shot import OneShot
from ..scores.scoring import Scoring
from ..selection.allocation import Allocation
from ..training.config import TrainConfig
from ..transfers import Transfer
from ..transfers.slice import Slice
from .inputs import fingerprints
from .stored import in_todays_form, own, plain, restored

# Settings that `config.json` has under their own names, in this order; what `Job` leaves unsaid is filled in.
_KEPT = ("start", "like", "teacher", "teacher_arch", "num_classes", "recalibration", "recipe")
_SETTINGS = schema.record(  # what types do not say of them
    dict.fromkeys(("images", "command", "arch", "training"), schema.anything),
    {
        **dict.fromkeys(("method", "schedule", "transfer"), schema.text),
        "num_classes": schema.maybe(schema.integer(1, 100_000)),
        "recalibration": schema.integer(0, 10**9),
    },
    others=True,
)


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """What work without training is told; `TrainConfig` says the same of work with training."""

    batch_size: int = 128
    eval_batch_size: int = 256
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """A method: which filters leave, how many of each layer, when, and what the weights that stay become."""

    allocation: Allocation
    scoring: Scoring = field(default_factory=Scoring)
    schedule: Schedule = field(default_factory=OneShot)
    transfer: Transfer = field(default_factory=Slice)

    def __post_init__(self) -> None:
        """Refuse a criterion that there is not, or whose scores are not what the allocation takes them for.

        Raises:
            CriterionError: names it.
        """
        criterion = self.scoring.criterion
        looks_at_groups = criteria.looks_at_groups(criterion)
        losses = isinstance(self.allocation, Budget) and self.allocation.ranking == "loss"
        if losses and self.scoring.scores is None and not looks_at_groups:
            raise CriterionError(
                f"`ranking` loss takes scores for losses of whole widths, and criterion '{criterion}' gives "
                "none; use obs or obs-measured"
            )

    @property
    def method(self) -> str:
        """The method as the command line calls it."""
        return self.transfer.method

    def settings(self) -> dict[str, Any]:
        """All fields of all parts, side by side, plain values only."""
        return {
            "method": self.method,
            "schedule": name_of(self.schedule),
            "transfer": name_of(self.transfer),
            "specification": allocations.stored(self.allocation),
            **plain(self.scoring),
            **plain(self.schedule),
            **plain(self.transfer),
        }

    @classmethod
    def of_settings(cls, known: Mapping[str, Any]) -> "Pruning":
        """The method whose `settings` these are, among others.

        Raises:
            KeyError, TypeError, EngineError: they are not.
        """
        allocation = allocations.allocation_of(known["specification"])
        if allocation is None:
            raise KeyError("specification")
        return cls(
            allocation=allocation,
            scoring=own(Scoring, known),
            schedule=own(schedules.get(known["schedule"]), known),
            transfer=own(transfers.get(known["transfer"]), known),
        )

    def said(self, allocation: Allocation) -> dict[str, Any]:
        """What the history says of it, `allocation` being its own for a certain network."""
        method = {} if self.method == "select" else {"method": self.method}
        when = {"schedule": name_of(self.schedule)} if self.schedule.trains else {}
        scored = {}
        if self.allocation.needs_scores and self.schedule.scores_filters:
            saved = self.scoring.scores
            scored = {"criterion": self.scoring.criterion} if saved is None else {"scores": str(saved)}
        what = {"transfer": name_of(self.transfer)} if self.transfer.calibration else {}
        own = {**plain(self.schedule), **plain(self.transfer)}
        return {**method, **when, **what, **own, **allocation.given(), **scored}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a run is made of; `config.json` holds exactly this.

    Attributes:
        command: `train-base` (from random weights of `arch`), `finetune` (from the file `start`) or `prune`.
        config: of the training, or of work without any.
        start: the file of the network; None is random weights of `arch`.
        arch: needed for a file only if that does not say it.
        like: a file whose network is trained from random weights, with the widths it has there.
        teacher: a file whose answers are learnt too.
        teacher_arch: its arch, where that is neither said by the file nor the one of the network.
        recalibration: training batches to re-estimate batch norms on; 0 leaves them.
        max_drop: points of accuracy that may be lost at once, where that and no budget says what leaves.
        steps: in how many what leaves at once does so, each from the network of the one before.
        pruning: what leaves, where something does.
        recipe: the published row that the settings are from; only remembered.
    """

    command: str
    images: Images
    config: TrainConfig | Untrained
    start: Path | None = None
    arch: str | None = None
    num_classes: int | None = None
    like: Path | None = None
    teacher: Path | None = None
    teacher_arch: str | None = None
    recalibration: int = 20
    max_drop: float | None = None
    steps: int = 1
    pruning: Pruning | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        """Refuse settings that do not go with each other.

        Raises:
            EngineError: names the first.
        """
        if self.pruning is not None:
            parts = self.pruning
            trained = self.start is not None
            parts.schedule.check(parts.allocation, parts.scoring, self.config, trained=trained)
            self._check_steps(parts)
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise TrainingError(f"`max_drop` is {self.max_drop:g} points; it must be from 0 to 100")

    def _check_steps(self, parts: Pruning) -> None:
        """Refuse what several steps do not go with.

        Raises:
            EngineError: names the first such setting.
        """
        if self.steps < 1:
            raise TrainingError(f"`steps` is {self.steps}; it must be at least 1")
        if self.steps == 1:
            return
        if self.recipe is not None:
            raise AllocationError(f"recipe '{self.recipe}' is done at once, as published; leave out `steps`")
        if parts.schedule.trains:
            way = name_of(parts.schedule)
            raise TrainingError(f"schedule '{way}' says itself when filters leave; leave out `steps`")
        if self.max_drop is not None:
            raise AllocationError(
                "`max_drop` finds a budget by trying, `steps` go towards one; give `flops` or `params`, or "
                "leave out `steps`"
            )
        if not isinstance(parts.allocation, Budget):
            raise AllocationError(
                f"`steps` go towards a budget, and {parts.allocation.way} is none; give `flops` or `params`, "
                "or leave out `steps`"
            )
        if parts.scoring.scores is not None:
            raise CriterionError(
                "`scores` are those of the full network, and every step scores what is there by then; give "
                "`criterion`, or leave out `steps`"
            )

    @property
    def parts(self) -> Pruning:
        """The four parts of a job that prunes."""
        assert self.pruning is not None
        return self.pruning

    @property
    def training(self) -> TrainConfig:
        """The settings of the training of a job that has one."""
        assert isinstance(self.config, TrainConfig)
        return self.config

    def settings(self, network: Network, data: ImageData) -> dict[str, Any]:
        """All fields, for `config.json`, what was left unsaid filled in."""
        return {
            "command": self.command,
            "arch": network.arch,
            "dataset": data.info.name,
            **{name: plain(getattr(self, name)) for name in _KEPT},
            "num_classes": network.num_classes,
            **(self.pruning.settings() if self.pruning else {}),
            "inputs": self.inputs(network, data),
            "images": {**plain(self.images), "dataset": data.info.name},
            "training": plain(self.config),
        }

    def inputs(self, network: Network, data: ImageData) -> dict[str, str | None]:
        """Digests of everything that this job reads."""
        scores = self.pruning.scoring.scores if self.pruning else None
        files = {"start": self.start, "like": self.like, "teacher": self.teacher, "scores": scores}
        return fingerprints(files, network.arch, data)

    @classmethod
    def of_run(cls, run: Run) -> "Job":
        """The job that a run folder describes.

        Raises:
            TrainingError: its `config.json` describes none.
        """
        try:
            known = in_todays_form(run.config)
            _SETTINGS(known, "")
            its_own = {name: known[name] for name in ("command", "arch", "images", *_KEPT) if name in known}
            job = restored(cls, {**its_own, "config": known["training"]})
            return replace(job, pruning=Pruning.of_settings(known) if "method" in known else None)
        except (AttributeError, KeyError, TypeError, ValueError, schema.WrongValue) as error:
            raise TrainingError(f"{run.folder}/config.json describes no run of prune: {error}") from error

    def said(self, allocation: Allocation | None = None) -> dict[str, Any]:
        """What the history says: the settings that differ from the defaults, or decide the result.

        Args:
            allocation: that of a job that prunes, for the very network that it prunes.
        """
        recipe = {"recipe": self.recipe} if self.recipe else {}
        pruning = self.pruning.said(allocation or self.pruning.allocation) if self.pruning else {}
        if self.pruning is not None and self.pruning.transfer.calibration and self.start is not None:
            pruning["base"] = str(self.start)  # which may teach what it was compensated to be
        if self.max_drop is not None:
            pruning["max_drop"] = self.max_drop
        if isinstance(self.config, TrainConfig):
            usual = plain(TrainConfig(epochs=1, lr=1.0))
            trained = plain(self.config)
            told = {name: v for name, v in trained.items() if name in ("epochs", "lr") or v != usual[name]}
            return {**recipe, **pruning, **told}
        drawn = {"seed": self.config.seed} if "criterion" in pruning else {}
        return {**recipe, **pruning, **drawn, "recalibration": self.recalibration}
