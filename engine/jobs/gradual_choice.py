"""Which channels are masked: chosen by the filters as they are, and tried out before anything is trained."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from ..data import ImageData
from ..events import Scored, unwatched
from ..graph.channels import ChannelMap
from ..graph.residual import view
from ..graph.trace import Trace
from ..narrowing.narrowing import left_alone, narrow_proven
from ..narrowing.pruning import Forecast, forecast, select
from ..network.network import Network
from ..scores.score_file import load_scores, skipping_unscored
from ..scores.scoring import scoring_on
from ..selection.allocation import Allocation
from ..selection.selection import Scores, Selection
from .gradual_job import GradualJob


@dataclass(frozen=True, eq=False)
class Trial:
    """A first choice that was cut out.

    Attributes:
        map: the network's channels as pruning sees them, what cannot be cut out pinned.
        notes: what a user should know.
    """

    map: ChannelMap
    selection: Selection
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Chooser:
    """Chooses what leaves a job's network, by its weights at any time.

    Attributes:
        network: as the job starts from it.
        traced: its trace.
    """

    job: GradualJob
    network: Network
    data: ImageData
    traced: Trace

    def forecast(self) -> Forecast:
        """How much would leave, whatever the scores; saved ones are checked.

        Raises:
            AllocationError, CriterionError, WeightsError: what is to leave cannot, or the scores do not fit.
        """
        return forecast(self.network, self._specification[0], self.traced)

    def choose(self, model: nn.Module, channel_map: ChannelMap) -> frozenset[int]:
        """The channels that leave by the weights of `model` as they are now."""
        return self._select(model, channel_map, unwatched(self._scoring(model))).removed

    def trying(self) -> Generator[Scored, None, Trial]:
        """Choose by the weights at the start, and cut it out of a copy: what cannot be cut out gets pinned.

        Raises:
            AllocationError: the specification cannot be met.
            ProofError: the narrow network would compute something else.
        """
        model, size = self.network.model, self.network.input_size
        specification, unscored = self._specification
        seen = view(model, self.traced, size, specification.residual)
        scores = yield from self._scoring(model)
        selections: list[Selection] = []

        def choose(channel_map: ChannelMap) -> frozenset[int]:
            selections.append(self._select(model, channel_map, scores))
            return selections[-1].removed

        narrowed = narrow_proven(seen.model, seen.traced, size, choose, finish=seen.close)
        selection = replace(selections[-1], removed=narrowed.removed)
        notes = (*selection.notes, *unscored, *seen.notes, *left_alone(narrowed.misfits))
        return Trial(narrowed.map, selection, notes)

    @cached_property
    def _specification(self) -> tuple[Allocation, tuple[str, ...]]:
        """What is to leave, and a note on what saved scores do not know."""
        specification = self.job.specification.for_arch(self.network.arch)
        if self.job.scores is None:
            return specification, ()
        scores = load_scores(self.job.scores, self.traced.map)
        return skipping_unscored(specification, self.traced.map, scores)

    def _select(self, model: nn.Module, channel_map: ChannelMap, scores: Scores) -> Selection:
        specification, _ = self._specification
        return select(replace(self.network, model=model), specification, channel_map, scores)

    def _scoring(self, model: nn.Module) -> Generator[Scored, None, Scores]:
        """The scores of the filters as they are now, or the saved ones."""
        job, config = self.job, self.job.config
        if not job.specification.needs_scores:
            return {}
        if job.scores is not None:
            return load_scores(job.scores, self.traced.map)
        work = scoring_on(
            self.data,
            job.criterion,
            model,
            self.traced,
            batch_size=config.batch_size,
            limit=job.limit,
            seed=config.seed,
        )
        return (yield from work)
