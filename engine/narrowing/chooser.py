"""Which channels leave a network: chosen by its filters as they are, at the start or at any time after."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from .. import criteria
from ..data import ImageData
from ..errors import CriterionError
from ..events import Event, unwatched
from ..graph.channels import ChannelMap
from ..graph.cost import Cost, count
from ..graph.residual import View
from ..graph.trace import Trace, trace
from ..network.network import Network
from ..scores.score_file import load_scores, skipping, skipping_unscored
from ..scores.scoring import Scoring, scoring_on
from ..selection.allocation import Allocation, GroupAllocation
from ..selection.selection import Scores
from .frozen import as_seen
from .pruning import Choice, Forecast, choice_of, forecast_on, prunable


@dataclass(frozen=True, eq=False, kw_only=True)
class Chooser:
    """Chooses what leaves a network, by its weights at any time.

    Attributes:
        network: as the job starts from it, on the job's device.
        allocation: how many channels leave each layer.
        scoring: how filters are scored.
        data: what criteria that need images look at.
        batch_size: images per batch of those, over all processes.
        seed: of their order, and of the criteria that draw numbers.
        known: the network's trace, where it is there already.
    """

    network: Network
    allocation: Allocation
    scoring: Scoring
    data: ImageData | None
    batch_size: int
    seed: int
    known: Trace | None = None

    @cached_property
    def traced(self) -> Trace:
        """The network's own trace."""
        return self.known or trace(self.network.model, self.network.takes)

    @cached_property
    def seen(self) -> View:
        """The network as pruning sees it, under the residual mode."""
        return as_seen(self.network, self.traced, self.wanted.residual)

    @property
    def wanted(self) -> Allocation:
        """The allocation for this very network: without what the scores leave out."""
        return self._wanted[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before anything is chosen."""
        return (*self.network.notes, *self._wanted[1], *self.seen.notes)

    @cached_property
    def before(self) -> Cost:
        """What one image costs in the network as it is."""
        return count(self.traced.map)

    @cached_property
    def forecast(self) -> Forecast:
        """How much leaves, whatever the scores.

        Raises:
            AllocationError, CriterionError, WeightsError: as `check`.
        """
        return forecast_on(self.network, self.wanted, self.seen, self.before)

    def check(self) -> None:
        """Refuse what cannot be met by any scores, before the scoring, which may take long.

        Raises:
            AllocationError: what is to leave cannot.
            CriterionError, WeightsError: scores that are not there, or do not go with the network.
        """
        if self.data is None and self.needs_images:
            criterion = self.scoring.criterion
            raise CriterionError(
                f"criterion '{criterion}' looks at images; say which with `dataset` or `data_dir`"
            )
        self.wanted.check(prunable(self.network, self.seen.traced.map))

    @property
    def needs_images(self) -> bool:
        """Can nothing be chosen without images?"""
        return self.allocation.needs_scores and self.scoring.needs_images

    def score(self, model: nn.Module) -> Generator[Event, None, Scores]:
        """The scores of the filters of `model` as they are now, or the saved ones; none where none matter."""
        if not self.allocation.needs_scores:
            return {}
        if self.scoring.scores is not None:
            return load_scores(self.scoring.scores, self.traced.map)
        traced, groups = self.traced, None
        if criteria.looks_at_groups(self.scoring.criterion):
            now = as_seen(self.network, self.traced, self.wanted.residual, model)
            model, traced = now.model, now.traced
            if isinstance(self.wanted, GroupAllocation):
                groups = self.wanted.groups(prunable(self.network, traced.map))
        work = scoring_on(
            self.data,
            self.scoring.criterion,
            model,
            traced,
            batch_size=self.batch_size,
            limit=self.scoring.limit,
            seed=self.seed,
            groups=groups,
        )
        return (yield from work)

    def choice(self, model: nn.Module, scores: Scores) -> Choice:
        """What leaves by these scores, and by the weights of `model` where an allocation looks at those."""
        return choice_of(replace(self.network, model=model), self.wanted, scores, self.seen.traced.map)

    def now(self, model: nn.Module, channel_map: ChannelMap) -> frozenset[int]:
        """The channels that leave by the weights of `model` as they are now."""
        return self.choice(model, unwatched(self.score(model)))(channel_map)

    @cached_property
    def _wanted(self) -> tuple[Allocation, tuple[str, ...]]:
        """The allocation for this network, and a note on what the scores do not know."""
        allocation = self.allocation.for_arch(self.network.arch)
        if not allocation.needs_scores:
            return allocation, ()
        if self.scoring.scores is not None:
            scores = load_scores(self.scoring.scores, self.traced.map)
            return skipping_unscored(allocation, self.traced.map, scores)
        criterion = self.scoring.criterion
        without = criteria.passed_over(criterion, self.traced.map)
        return skipping(allocation, self.traced.map, without, f"{criterion} does not score them")
