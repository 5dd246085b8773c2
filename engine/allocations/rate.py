"""One rate for all: the same share of every group leaves."""

from dataclasses import dataclass
from typing import ClassVar, Self

from ..selection.allocation import GroupAllocation, Prunable
from ..selection.rates import check_rate
from ..selection.selection import Scores, Selection, by_group_rates


@dataclass(frozen=True, kw_only=True)
class Rate(GroupAllocation):
    """int(rate * n) of the n channels of every group leave.

    Attributes:
        rate: share removed, in [0, 1).
    """

    ways: ClassVar = (("rate",),)
    place: ClassVar = 20

    rate: float

    def __post_init__(self) -> None:
        """Refuse what `Allocation` does, and a rate out of range."""
        super().__post_init__()
        check_rate(self.rate, "the rate")

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """A quarter of each group."""
        return cls(rate=0.25)

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`."""
        groups = self.groups(network)
        rates = [self.rate] * len(groups)
        return by_group_rates(network.map, groups, scores, rates, min_channels=self.min_channels)
