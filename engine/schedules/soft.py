"""All filters chosen anew again and again, the chosen zeroed and free to grow back: FPGM's schedule."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..data import ImageData
from ..devices import device_of
from ..errors import TrainingError
from ..events import Accuracy, Event
from ..graph.cost import Counter
from ..masking.changing import ChangingMasks
from ..masking.trial import refuse_norms, refuse_nothing, trying
from ..measure.evaluation import evaluate
from ..narrowing.chooser import Chooser
from ..parts import name_of
from ..scores.scoring import Scoring
from ..selection.allocation import Allocation
from ..training.config import TrainConfig
from ..training.steps import steps_per_epoch
from . import Ready, Schedule, Steering


@dataclass(frozen=True, kw_only=True)
class Soft(Schedule):
    """All masks are set anew after every `prune_every` epochs of one training; in between, filters learn on.

    Attributes:
        hard: do masked filters stay zero until the next masks?
    """

    hard: ClassVar[bool] = False
    prune_every: int = 1

    def check(self, allocation: Allocation, scoring: Scoring, config: Any, *, trained: bool) -> None:
        """Refuse saved scores, which do not change with the filters, and masks that are never set again.

        Raises:
            TrainingError: names what does not go together.
        """
        if scoring.scores is not None:
            raise TrainingError(
                f"`scores` has no effect with `schedule` {name_of(self)}, which scores filters anew as they "
                "learn; name a `criterion`"
            )
        if not 1 <= self.prune_every <= config.epochs:
            raise TrainingError(
                f"`prune_every` {self.prune_every} is more than the {config.epochs} epochs there are; "
                f"give 1 to {config.epochs}"
            )

    def ready(self, chooser: Chooser, config: TrainConfig | None, data: ImageData | None) -> Ready:
        """Make sure that filters leave."""
        refuse_norms(chooser, name_of(self))
        ready = _Ready(chooser, config, data, self)
        refuse_nothing(ready.leaving)
        return ready


@dataclass(frozen=True, eq=False)
class _Ready(Ready):
    schedule: Soft

    def begin(self) -> Generator[Event, None, Steering]:
        chooser, config, data = self.chooser, self.config, self.data
        assert config is not None
        assert data is not None
        trial = yield from trying(chooser)
        model, counter = chooser.network.model, Counter(trial.map)

        def test() -> Accuracy:
            return evaluate(model, data, batch_size=config.eval_batch_size, device=device_of(model))

        hooks = ChangingMasks(
            model,
            trial.map,
            lambda model: chooser.now(model, trial.map),
            lambda masked: counter.totals(masked)[0],
            test,
            hard=self.schedule.hard,
            epochs=config.epochs,
            prune_every=self.schedule.prune_every,
            steps_per_epoch=steps_per_epoch(data, config.batch_size),
        )
        return Steering(hooks, config, **vars(trial))
