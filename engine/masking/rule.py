"""Which compactor rows are masked: the smallest of the whole network, until its MACs meet a target."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import AllocationError
from ..graph.channels import NO_ID, Ids

GRANULARITY = 4


@dataclass(frozen=True, eq=False)
class Masks:
    """A decision: which rows stay active, and what the network costs once the others are gone.

    Attributes:
        active: one entry per row of all compactors, end to end.
        masked: how many channels are masked.
        macs: multiply-accumulates without them.
    """

    active: NDArray[np.bool_]
    masked: int
    macs: int


class MaskRule:
    """ResRep's choice of rows to mask, for one network and one target.

    Ding et al., ICCV 2021, arXiv 2007.03260, section 3.4. A channel counts by its rows' joint norm, so rows
    that must leave together (grouped convolutions tie them) are masked together. Every decision starts from
    the whole network: a row masked before comes back if others are smaller now.

    Departs from the authors' code: the last row of a compactor is passed over at no cost, where theirs lets
    it use up a place of the limit; and a compactor without a masked row gets a mask of ones, where theirs
    keeps the mask it had.
    """

    def __init__(
        self,
        rows: Sequence[Ids],
        macs: Callable[[Ids], int],
        *,
        target: float,
        granularity: int = GRANULARITY,
        pinned: Iterable[int] = (),
    ) -> None:
        """Prepare to decide.

        Args:
            rows: per compactor, in network order, the channel of each row; `NO_ID` where it has none.
            macs: what the network costs without some channels; the fewer channels, the less.
            target: MACs to reach: up to 1 a share of the whole network's, above 1 a number.
            granularity: at most so many channels more than before are masked at a time.
            pinned: channels that may not leave.
        """
        self._macs = macs
        self._granularity = granularity
        self.whole = macs(np.array([], dtype=np.int64))
        self.target = target * self.whole if target <= 1 else target
        ids_R = np.concatenate(rows)
        compactor_R = np.repeat(np.arange(len(rows)), [len(ids) for ids in rows])
        ids_C, first_C, channel_R = np.unique(ids_R, return_index=True, return_inverse=True)
        self._ids_C, self._first_C, self._channel_R = ids_C, first_C, channel_R
        self._compactor_C = compactor_R[first_C]
        self._fixed_C = np.isin(ids_C, [NO_ID, *pinned])

    def require_reachable(self) -> None:
        """Make sure that masking as much as possible would meet the target.

        Raises:
            AllocationError: it would not; says what is in reach.
        """
        least = self._macs(self._ids_C[self._removal_order(np.ones(len(self._ids_C)))])
        if least > self.target:
            raise AllocationError(
                f"flops target {self.target:,.0f} is out of reach: with one channel left behind each of the "
                f"{self._compactor_C.max() + 1} compactors the network still has {least:,} MACs, "
                f"{least / self.whole:.3f} of {self.whole:,}; raise `flops`, skip fewer layers, or narrow "
                "residual streams too with `residual` coupled"
            )

    def macs_of(self, active: NDArray[np.bool_]) -> int:
        """What the network costs with exactly the masked channels gone."""
        return self._macs(self._ids_C[~active[self._first_C]])

    def decide(self, norms_R: NDArray[np.floating], active_R: NDArray[np.bool_]) -> Masks:
        """Choose anew which rows are masked.

        Args:
            norms_R: Euclidean norms of all rows, end to end.
            active_R: the masks as they are now.
        """
        joint_C = np.sqrt(np.bincount(self._channel_R, weights=np.square(norms_R, dtype=np.float64)))
        order = self._removal_order(joint_C)
        length = bisect_left(range(len(order) + 1), True, key=lambda n: self._meets(order[:n]))
        masked_C = ~active_R[self._first_C]
        if not self._meets(np.flatnonzero(masked_C)):
            length = min(length, int(masked_C.sum()) + self._granularity)
        leaving = order[:length]
        active_C = np.ones(len(self._ids_C), dtype=bool)
        active_C[leaving] = False
        return Masks(active_C[self._channel_R], len(leaving), self._macs(self._ids_C[leaving]))

    def _meets(self, channels: NDArray[np.intp]) -> bool:
        return self._macs(self._ids_C[channels]) <= self.target

    def _removal_order(self, norms_C: NDArray[np.float64]) -> NDArray[np.intp]:
        """Channels by ascending norm, equal ones in network order, without those that stay in any case.

        Of every compactor one channel stays: a pinned one, or the largest.
        """
        norms_C = np.where(self._fixed_C, np.inf, norms_C)
        order = np.lexsort((self._first_C, norms_C))
        _, last_from_behind = np.unique(self._compactor_C[order][::-1], return_index=True)
        leaves = ~self._fixed_C[order]
        leaves[len(order) - 1 - last_from_behind] = False
        return order[leaves]
