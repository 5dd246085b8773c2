"""Hooks of schedules: what steers a training, and what is known when it is over."""

from collections.abc import Mapping
from typing import Any

from ..events import Accuracy
from ..training.hooks import Hooks


class ScheduleHooks(Hooks):
    """Hooks that empty channels while the network trains.

    Attributes:
        masked: the channels that are masked now; compactors keep their own.
    """

    masked: frozenset[int] = frozenset()

    @property
    def accuracies(self) -> Mapping[str, Accuracy]:
        """What was measured on the way, by stage."""
        return {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the report says of the training beside its accuracies, plain values only."""
        return {}
