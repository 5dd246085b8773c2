"""FPGM's own allocation: a share leaves by norm, then a share by distance (He et al., CVPR 2019)."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..criteria.fpgm import Distance, geometric_median_scores
from ..criteria.l2 import l2_norms
from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..graph.filters import filters_of
from ..selection.selection import Selection, channel_scores, combine_scores, leaving, removal_order


def by_norm_and_distance(
    channel_map: ChannelMap,
    groups: Iterable[Group],
    weights: Mapping[str, Tensor],
    rate_norm: float,
    rate_dist: float,
    *,
    distance: Distance = "l2",
    min_channels: int = 1,
) -> Selection:
    """Remove channels of small norm, then, among the remaining, those nearest to the geometric median.

    He et al., CVPR 2019, arXiv 1811.00250, and the authors' two rates: of n channels the int(n * (1 -
    rate_norm)) of smallest L2 norm leave, then int(n * rate_dist) by `geometric_median_scores` over the
    remaining filters only.

    Args:
        channel_map: of the network.
        groups: those that take part.
        weights: the state dict.
        rate_norm: share kept by norm, in (0, 1].
        rate_dist: share removed by distance, in [0, 1).
        distance: between two filters.
        min_channels: as many stay in every group.

    Raises:
        AllocationError: a rate out of range, or both together remove everything.
    """
    if not 0 < rate_norm <= 1 or not 0 <= rate_dist < 1:
        raise AllocationError(
            f"rate-norm {rate_norm:g} is a share kept, above 0 and up to 1; "
            f"rate-dist {rate_dist:g} a share removed, from 0 up to, not including, 1"
        )
    if (1 - rate_norm) + rate_dist >= 1:
        raise AllocationError(
            f"rate-norm {rate_norm:g} and rate-dist {rate_dist:g} together remove every channel"
        )
    removed: list[int] = []
    counts: dict[str, tuple[int, int]] = {}
    notes: tuple[str, ...] = ()
    for group in groups:
        n = len(group.channels)
        layers = [channel_map.layer(name) for name in group.producers]
        filters = {layer.name: filters_of(layer, weights[layer.weight]) for layer in layers}
        norms = {name: l2_norms(weight_FCHW).cpu() for name, weight_FCHW in filters.items()}
        order = removal_order(group, channel_scores(channel_map, group, norms))
        by_norm, norm_notes = leaving(group, order, int(n * (1 - rate_norm)), min_channels)

        remaining = np.delete(group.channels, by_norm)
        order = removal_order(group, _distance_scores(channel_map, group, filters, remaining, distance))
        by_distance, distance_notes = leaving(group, order, int(n * rate_dist), min_channels + len(by_norm))

        leave = np.concatenate([by_norm, by_distance])
        removed += group.channels[leave].tolist()
        counts[group.name] = (n - len(leave), n)
        notes += norm_notes + distance_notes
    return Selection(frozenset(removed), counts, (), notes)


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
