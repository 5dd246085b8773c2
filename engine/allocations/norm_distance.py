"""FPGM's own allocation: a share leaves by norm, then a share by distance (He et al., CVPR 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..criteria.fpgm import Distance, geometric_median_scores
from ..criteria.l2 import l2_norms
from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..graph.filters import filters_of
from ..selection.allocation import GroupAllocation, Prunable, label
from ..selection.selection import (
    Positions,
    Scores,
    Selection,
    channel_scores,
    check_choice,
    combine_scores,
    leaving,
    removal_order,
)


@dataclass(frozen=True, kw_only=True)
class NormDistance(GroupAllocation):
    """Channels of small norm leave, then, among the remaining, those nearest to the geometric median.

    He et al., CVPR 2019, arXiv 1811.00250, and the authors' two rates: of n channels the int(n * (1 -
    rate_norm)) of smallest L2 norm leave, then int(n * rate_dist) by `geometric_median_scores` over the
    remaining filters only.

    Attributes:
        rate_norm: share kept by norm, in (0, 1]; all if not given.
        rate_dist: share removed by distance, in [0, 1); none if not given.
        distance: between two filters, where `rate_dist` is given.
    """

    ways: ClassVar = (("rate_norm", "rate_dist"),)
    place: ClassVar = 50
    needs_scores: ClassVar = False

    rate_norm: float | None = None
    rate_dist: float | None = None
    distance: Distance = "l2"

    def __post_init__(self) -> None:
        """Refuse what `Allocation` does, rates out of range, and a distance without effect."""
        super().__post_init__()
        check_choice("distance", self.distance, Distance)
        if self.rate_norm is None and self.rate_dist is None:
            raise AllocationError(f"neither share is given; give {label(self.ways[0])}")
        if self.rate_dist is None and self.distance != NormDistance.distance:
            raise AllocationError(f"`distance` has no effect with {self.way}; leave out one of them")
        norm, distance = self.shares
        if not 0 < norm <= 1 or not 0 <= distance < 1:
            raise AllocationError(
                f"rate-norm {norm:g} is a share kept, above 0 and up to 1; "
                f"rate-dist {distance:g} a share removed, from 0 up to, not including, 1"
            )
        if (1 - norm) + distance >= 1:
            raise AllocationError(
                f"rate-norm {norm:g} and rate-dist {distance:g} together remove every channel"
            )

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """A tenth by norm, a fifth by distance."""
        return cls(rate_norm=0.9, rate_dist=0.2)

    @property
    def shares(self) -> tuple[float, float]:
        """The share kept by norm and the share removed by distance."""
        return (1.0 if self.rate_norm is None else self.rate_norm, self.rate_dist or 0.0)

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`; the weights decide, the scores do not."""
        removed: list[int] = []
        counts: dict[str, tuple[int, int]] = {}
        notes: tuple[str, ...] = ()
        for group in self.groups(network):
            leave, shortfall = self._leaving(network, group)
            n = len(group.channels)
            removed += group.channels[leave].tolist()
            counts[group.name] = (n - len(leave), n)
            notes += shortfall
        return Selection(frozenset(removed), counts, (), notes)

    def check(self, network: Prunable) -> None:
        """See `Allocation`; distances cannot fail, and take their time."""
        self.groups(network)

    def _leaving(self, network: Prunable, group: Group) -> tuple[Positions, tuple[str, ...]]:
        """The positions of a group that leave, and notes where they are fewer than asked for."""
        n, (norm, distance) = len(group.channels), self.shares
        layers = [network.map.layer(name) for name in group.producers]
        filters = {layer.name: filters_of(layer, network.weights[layer.weight]) for layer in layers}
        norms = {name: l2_norms(weight_FCHW).cpu() for name, weight_FCHW in filters.items()}
        order = removal_order(group, channel_scores(network.map, group, norms))
        by_norm, norm_notes = leaving(group, order, int(n * (1 - norm)), self.min_channels)

        remaining = np.delete(group.channels, by_norm)
        order = removal_order(group, _distance_scores(network.map, group, filters, remaining, self.distance))
        fewest = self.min_channels + len(by_norm)
        by_distance, distance_notes = leaving(group, order, int(n * distance), fewest)
        return np.concatenate([by_norm, by_distance]), norm_notes + distance_notes


def _distance_scores(
    channel_map: ChannelMap,
    group: Group,
    filters: Mapping[str, Tensor],
    remaining: NDArray[np.int64],
    distance: Distance,
) -> NDArray[np.float64]:
    """Geometric median scores among the filters of the remaining channels; the others score infinite."""
    pieces = []
    for name, weight_FCHW in filters.items():
        ids = channel_map.layer(name).out_ids
        stay = np.flatnonzero(np.isin(ids, remaining))
        stay_on_device = torch.as_tensor(stay, device=weight_FCHW.device)
        scores_S = geometric_median_scores(weight_FCHW.index_select(0, stay_on_device), distance)
        pieces.append((ids[stay], scores_S.cpu().numpy()))
    return combine_scores(group.channels, pieces)
