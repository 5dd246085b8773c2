"""One order in which the channels of a network leave: every length of it is a narrower network."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group, Ids
from .selection import Scores, Selection, channel_scores, removal_order

Ranking = Literal["local", "global", "loss"]


@dataclass(frozen=True)
class Limits:
    """How far a group may be narrowed.

    Attributes:
        min_channels: as many stay.
        max_rate: no larger share leaves.
        round_to: the number that stays is rounded up to a multiple; a narrower group stays whole.
        whole: the widths, by group, that `max_rate` is a share of; of others it is one of what they have.
    """

    min_channels: int = 1
    max_rate: float = 0.9
    round_to: int = 1
    whole: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.min_channels < 1 or self.round_to < 1 or not 0 <= self.max_rate <= 1:
            raise AllocationError(
                f"limits are min-channels {self.min_channels} and round-to {self.round_to}, from 1 up, "
                f"and max-rate {self.max_rate:g}, from 0 to 1"
            )

    def most(self, group: Group) -> dict[str, int]:
        """How many channels of a group may leave at most, by the limit that says so."""
        n = len(group.channels)
        whole = self.whole.get(group.name, n)
        return {
            f"min-channels {self.min_channels}": max(0, n - self.min_channels),
            f"max-rate {self.max_rate:g}": max(0, n - (whole - int(self.max_rate * whole))),
        }


class _Candidates(NamedTuple):
    """Channels that may leave, in the order in which each group's do; one entry per channel in every row.

    Attributes:
        ids: of the channels.
        groups: number of the group.
        steps: how many of its group leave earlier.
        rates: share of its group that is gone with it.
        scores: divided by the group's mean.
    """

    ids: Ids
    groups: NDArray[np.int64]
    steps: NDArray[np.int64]
    rates: NDArray[np.float64]
    scores: NDArray[np.float64]

    @classmethod
    def none(cls) -> "_Candidates":
        """Not one."""
        numbers, shares = np.array([], dtype=np.int64), np.array([])
        return cls(numbers, numbers, numbers, shares, shares)


class RemovalOrder:
    """One order in which the channels of all groups leave; every length of it is a narrower network.

    Ranking `local` lets the groups narrow in step: the k-th lowest of n channels leaves at rate k/n, equal
    rates by score. Any other compares scores across groups, each divided by its group's mean.
    """

    def __init__(
        self,
        channel_map: ChannelMap,
        groups: Iterable[Group],
        scores: Scores,
        *,
        ranking: Ranking = "local",
        limits: Limits = Limits(),
    ):
        self.groups = tuple(groups)
        self.limits = limits
        self._widths_G = np.array([len(group.channels) for group in self.groups], dtype=np.int64)
        self.bounds: Tally[str] = Tally()
        columns = zip(
            _Candidates.none(),
            *(
                self._candidates(index, group, channel_scores(channel_map, group, scores))
                for index, group in enumerate(self.groups)
            ),
            strict=True,
        )
        everyone = _Candidates(*map(np.concatenate, columns))
        keys = (everyone.scores, everyone.rates) if ranking == "local" else (everyone.scores,)
        sequence = np.lexsort(keys)  # the last key counts most, and equal keys keep their order
        self._ids = everyone.ids[sequence]
        self._group_of = everyone.groups[sequence]
        self._step = everyone.steps[sequence]

    def __len__(self) -> int:
        return len(self._ids)

    def removed(self, length: int) -> Ids:
        """The ids that leave in the first `length` steps, fewer where widths are rounded up."""
        leave_G = np.bincount(self._group_of[:length], minlength=len(self.groups))
        kept_G = self._widths_G - leave_G
        multiple = self.limits.round_to
        rounded_G = np.minimum(self._widths_G, -(-kept_G // multiple) * multiple)
        return self._ids[self._step < (self._widths_G - rounded_G)[self._group_of]]

    def selection(self, length: int) -> Selection:
        """The first `length` steps as a selection."""
        removed = frozenset(self.removed(length).tolist())
        counts = {
            group.name: (
                len(group.channels) - len(removed.intersection(group.channels.tolist())),
                len(group.channels),
            )
            for group in self.groups
        }
        return Selection(removed, counts)

    def _candidates(self, index: int, group: Group, scores_C: NDArray[np.float64]) -> "_Candidates":
        order = removal_order(group, scores_C)
        order = order[: self._most(group, len(order))]
        steps = np.arange(len(order))
        mean = np.abs(scores_C[np.isfinite(scores_C)]).mean() or 1.0
        return _Candidates(
            ids=group.channels[order],
            groups=np.full(len(order), index),
            steps=steps,
            rates=(steps + 1) / len(group.channels),
            scores=scores_C[order] / mean,
        )

    def _most(self, group: Group, removable: int) -> int:
        """How many channels of a group may leave at most; notes which limit says so."""
        bounds = {"pinned channels": removable, **self.limits.most(group)}
        tightest = min(bounds, key=bounds.__getitem__)
        self.bounds[tightest] += 1
        return bounds[tightest]


def first_length(order: RemovalOrder, meets: Callable[[Ids], bool]) -> int | None:
    """The shortest prefix of a removal order that meets a target, by bisection.

    Args:
        order: in which channels leave.
        meets: does the network without these ids meet the target? Once true, it stays true for longer
            prefixes.

    Returns:
        The length, or None where even the whole order does not meet it.
    """
    if not meets(order.removed(len(order))):
        return None
    short, long = 0, len(order)
    while short < long:
        middle = (short + long) // 2
        if meets(order.removed(middle)):
            long = middle
        else:
            short = middle + 1
    return long
