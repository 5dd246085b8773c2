"""Compactors whose rows are pulled to zero until they can leave without a trace: ResRep's schedule."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ..allocations.budget import Budget
from ..compactors.sites import Site, insert, refused, targets
from ..data import ImageData
from ..errors import AllocationError, TrainingError
from ..events import Event
from ..graph.cost import Counter
from ..masking.resetting import ResettingGradients
from ..masking.rule import GRANULARITY, MaskRule
from ..masking.trial import refuse_norms
from ..modules.guests import COMPACTORS
from ..narrowing.chooser import Chooser
from ..parts import name_of
from ..scores.scoring import Scoring
from ..selection.allocation import Allocation
from ..selection.selection import Selection
from ..training.config import TrainConfig
from ..training.steps import steps_per_epoch
from . import Ready, Schedule, Steering

RESIDUALS = ("internal", "coupled")
SMALL_IMAGES = 64  # pixels; up to here the authors' settings for CIFAR are taken, above those for ImageNet


def published(input_size: tuple[int, ...]) -> tuple[TrainConfig, float]:
    """The authors' settings for images of this size: how they train, and the share of the MACs that stays.

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
    return config, 0.471 if small else 0.455


@dataclass(frozen=True, kw_only=True)
class GradientResetting(Schedule):
    """Compactors are trained; gradients of rows that are to leave are reset, and all rows pulled to zero.

    Ding et al., ICCV 2021, arXiv 2007.03260. Which rows leave is decided by their norms, whatever the
    criterion; the network's own filters are not scored.

    Attributes:
        lasso: strength of the group lasso on compactor rows.
        mask_after: epochs before the first masks.
        mask_interval: steps from one decision to the next.
        granularity: at most so many channels more than before are masked at a time.
    """

    scores_filters: ClassVar[bool] = False

    lasso: float = 1e-4
    mask_after: int = 5
    mask_interval: int = 200
    granularity: int = GRANULARITY

    def __post_init__(self) -> None:
        """Refuse settings that mask nothing, or everything.

        Raises:
            TrainingError: names the first such setting.
        """
        allowed = {
            "lasso": (self.lasso > 0, "above 0: without a pull, no row ever dies"),
            "mask_after": (self.mask_after >= 0, "0 or more"),
            "mask_interval": (self.mask_interval >= 1, "at least 1"),
            "granularity": (self.granularity >= 1, "at least 1"),
        }
        for name, (met, wanted) in allowed.items():
            if not met:
                raise TrainingError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")

    def check(self, allocation: Allocation, scoring: Scoring, config: Any, *, trained: bool) -> None:
        """Refuse what masks cannot be chosen by: anything but a budget of MACs.

        Raises:
            AllocationError: names it.
        """
        if not isinstance(allocation, Budget) or allocation.flops is None:
            raise AllocationError("`method` resrep masks rows until `flops` is met; say nothing else")
        if allocation.residual not in RESIDUALS:
            raise AllocationError(
                f"`method` resrep knows no `residual` {allocation.residual}; choose {' or '.join(RESIDUALS)}"
            )

    def ready(self, chooser: Chooser, config: TrainConfig | None, data: ImageData | None) -> Ready:
        """Put compactors into the network, and make sure that they can meet the budget."""
        refuse_norms(chooser, name_of(self))
        network, allocation = chooser.network, chooser.wanted
        assert isinstance(allocation, Budget)
        assert allocation.flops is not None
        if COMPACTORS.placed(network.model):
            raise TrainingError(
                f"'{network.origin}' carries compactors already; fold them first (prune convert), or go on "
                "with the run it comes from (`resume`)"
            )
        traced = chooser.traced
        found = targets(network.model, traced, residual=allocation.residual, skip=allocation.skip)
        why_not = refused(network.model, traced)
        if not found:
            why = f"; {next(iter(why_not.values()))}" if why_not else ""
            raise AllocationError(
                "no layer can carry a compactor: every group is pinned, skipped, part of a residual stream, "
                f"or made by other layers than Conv2d{why}"
            )
        before = chooser.before  # counted as long as there are no compactors
        sites = insert(network.model, found)
        counter = Counter(traced.map)
        rule = MaskRule(
            [site.row_ids for site in sites],
            lambda ids: counter.totals(ids)[0],
            target=allocation.flops,
            granularity=self.granularity,
            pinned=[channel for site in sites for channel in site.group.pinned],
        )
        rule.require_reachable()
        assert before.macs == rule.whole
        return _Ready(chooser, config, data, self, sites, rule, why_not)


@dataclass(frozen=True, eq=False)
class _Ready(Ready):
    """Compactors at their sites, and the rule that masks their rows; `refused` groups carry none, and why."""

    schedule: GradientResetting
    sites: tuple[Site, ...]
    rule: MaskRule
    refused: Mapping[str, str]

    @cached_property
    def after(self) -> None:
        """Which rows die, and so which channels leave, only the training shows."""

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        return {}

    @property
    def aim(self) -> dict[str, float]:
        return {"compactors": len(self.sites), "target": self.rule.target}

    def begin(self) -> Generator[Event, None, Steering]:
        yield from ()
        config, data = self.config, self.data
        assert config is not None
        assert data is not None
        hooks = ResettingGradients(
            [site.compactor for site in self.sites],
            self.rule,
            self.schedule,
            steps_per_epoch(data, config.batch_size),
        )
        selection = Selection(frozenset(), {}, refused=self.refused)
        return Steering(hooks, config, self.chooser.traced.map, selection)
