"""Schedules, which say when filters leave: one file each, found by file name."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from .. import parts
from ..errors import TrainingError

if TYPE_CHECKING:
    from ..data import ImageData
    from ..events import Event
    from ..graph.channels import ChannelMap
    from ..graph.cost import Cost
    from ..masking.hooks import ScheduleHooks
    from ..narrowing.chooser import Chooser
    from ..scores.scoring import Scoring
    from ..selection.allocation import Allocation
    from ..selection.selection import Selection
    from ..training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When filters leave. Settings are fields, with defaults; a run folder and the history keep them.

    Attributes:
        trains: do filters leave while the network trains?
        scores_filters: are it the filters' scores that say which of them leave?
    """

    trains: ClassVar[bool] = True
    scores_filters: ClassVar[bool] = True

    def check(self, allocation: "Allocation", scoring: "Scoring", config: Any, *, trained: bool) -> None:
        """Refuse settings that do not go with each other, before anything is opened.

        Args:
            config: of the training, where there is one.
            trained: does the job start from a trained network?

        Raises:
            EngineError: names the first such setting.
        """

    def ready(self, chooser: "Chooser", config: "TrainConfig | None", data: "ImageData | None") -> "Ready":
        """Make sure that all of it can be done with this network, before anything is written.

        Raises:
            EngineError: it cannot.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Ready:
    """A schedule on a network, with nothing left that could be missing.

    Attributes:
        chooser: knows the network, and what leaves it.
        config: of the whole training, as far as that is known without scores; None where there is none.
        data: the images, where there are any.
    """

    chooser: "Chooser"
    config: "TrainConfig | None"
    data: "ImageData | None"

    @property
    def leaving(self) -> frozenset[int]:
        """As many channels as leave, though perhaps not the very ones."""
        return self.chooser.forecast.selection.removed

    @cached_property
    def after(self) -> "Cost | None":
        """What one image will cost, as far as that goes without scores; None where nobody can say."""
        from ..graph.cost import count

        return count(self.chooser.forecast.map, self.leaving)

    @property
    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Per group that takes part, how many channels would stay and how many there are."""
        from ..selection.selection import group_counts

        forecast = self.chooser.forecast
        groups = [group for group in forecast.map.groups if group.name in forecast.selection.counts]
        return group_counts(groups, self.leaving)

    @property
    def aim(self) -> Mapping[str, float]:
        """What the training works towards, in numbers, where it has such a thing."""
        return {}

    def begin(self) -> "Generator[Event, None, Steering]":
        """Choose what has to be chosen before training begins, and say what steers it."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Steering:
    """A training in which filters leave, ready to begin.

    Attributes:
        hooks: act in every step, and know what is masked.
        config: of the whole training.
        map: the network's channels as pruning sees them, what cannot be cut out pinned.
        selection: what was chosen before the training.
        notes: what a user should know.
    """

    hooks: "ScheduleHooks"
    config: "TrainConfig"
    map: "ChannelMap"
    selection: "Selection"
    notes: tuple[str, ...] = ()


def names() -> list[str]:
    """Every schedule there is; costs no torch."""
    return parts.names(__name__)


def get(name: str) -> type[Schedule]:
    """The schedule called `name`.

    Raises:
        TrainingError: there is none of that name.
    """
    return parts.class_of(__name__, name, "schedule", TrainingError)
