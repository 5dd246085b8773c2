"""One layer after the other: HRank's schedule."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from ..data import ImageData
from ..errors import TrainingError
from ..events import Event
from ..graph.cost import Counter
from ..masking.trial import refuse_norms, refuse_nothing, trying
from ..masking.turns import LayersInTurn, Turn, turns
from ..narrowing.chooser import Chooser
from ..parts import name_of
from ..scores.scoring import Scoring
from ..selection.allocation import Allocation
from ..training.config import TrainConfig
from . import Ready, Schedule, Steering


@dataclass(frozen=True, kw_only=True)
class LayerByLayer(Schedule):
    """A convolution is masked, the network trains for `epochs`, and the next one's turn comes.

    Attributes:
        start_conv: the first convolution to mask, by name or number.
    """

    start_conv: str | None = None

    def check(self, allocation: Allocation, scoring: Scoring, config: Any, *, trained: bool) -> None:
        """Refuse random weights, and a start in the middle of a budget.

        Raises:
            TrainingError: names what does not go together.
        """
        if not trained:
            raise TrainingError("`schedule` layer-by-layer starts from a trained network; name its file")
        if self.start_conv is not None and allocation.widths_depend_on_scores:
            raise TrainingError(
                "`start_conv` has no effect with a budget, which counts on every conv; keep the earlier ones "
                "out of it with `skip`"
            )

    def ready(self, chooser: Chooser, config: TrainConfig | None, data: ImageData | None) -> Ready:
        """Make sure that filters leave, from the first convolution on."""
        refuse_norms(chooser, name_of(self))
        assert config is not None
        forecast = chooser.forecast
        due = turns(forecast.map, forecast.selection, self.start_conv)
        ready = _Ready(chooser, whole(config, len(due)), data, self, config.epochs, due)
        refuse_nothing(ready.leaving)
        return ready


def whole(config: TrainConfig, turns: int) -> TrainConfig:
    """The training of all turns: with each one, the learning rate begins anew."""
    return replace(config, epochs=config.epochs * turns, cycle_epochs=config.epochs)


@dataclass(frozen=True, eq=False)
class _Ready(Ready):
    """Whose turn comes when, as far as that goes without scores; each takes `epochs`."""

    schedule: LayerByLayer
    epochs: int
    turns: tuple[Turn, ...]

    @property
    def leaving(self) -> frozenset[int]:
        removed = self.chooser.forecast.selection.removed
        return frozenset().union(*(turn.masked(removed) for turn in self.turns))

    def begin(self) -> Generator[Event, None, Steering]:
        trial = yield from trying(self.chooser)
        due = turns(trial.map, trial.selection, self.schedule.start_conv)
        model, counter = self.chooser.network.model, Counter(trial.map)
        hooks = LayersInTurn(
            model,
            trial.map,
            due,
            trial.selection.removed,
            lambda masked: counter.totals(masked)[0],
            self.epochs,
        )
        assert self.config is not None
        one_turn = replace(self.config, epochs=self.epochs, cycle_epochs=None)
        return Steering(hooks, whole(one_turn, len(due)), **vars(trial))
