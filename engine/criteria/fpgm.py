"""The summed distance of each filter to the others, as in FPGM (He et al., CVPR 2019)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..graph.filters import filters_of, scored_layers
from ..graph.trace import Trace

NEEDS = "weights"

Distance = Literal["l2", "l1", "cosine"]


def geometric_median_scores(weight_FCHW: Tensor, distance: Distance = "l2") -> Tensor:
    """Score each filter by its summed distance to the other filters of its layer.

    He et al., CVPR 2019, arXiv 1811.00250, Eq. 7. A small sum means near the geometric median, so replaceable
    by the others. A lone filter scores 0.

    Departs from the authors' code: there, `l1` and `cos` have no effect. Here, `l1` sums absolute
    differences, and `cosine` lets the filters most similar to the others leave first: its score is minus the
    sum of |cos|.

    Args:
        weight_FCHW: one layer's weight, F filters, any float dtype; (F, C) of a linear layer.
        distance: between two filters.

    Returns:
        scores_F, float64, in the unit of the weights; for `cosine` between -(F - 1) and 0.
    """
    filters_FD = weight_FCHW.double().flatten(1)
    if distance == "l1":
        return torch.cdist(filters_FD, filters_FD, p=1).sum(1)
    if distance == "cosine":
        directions_FD = nn.functional.normalize(filters_FD, eps=torch.finfo(torch.float64).tiny)
        cosines_FF = (directions_FD @ directions_FD.mT).abs()
        return -cosines_FF.fill_diagonal_(0).sum(1)
    # The float64 Gram matrix gives the same order as a loop over pairs, several times faster.
    gram_FF = filters_FD @ filters_FD.mT
    squares_F = gram_FF.diagonal()
    squared_distances_FF = (squares_F[:, None] + squares_F[None, :] - 2 * gram_FF).clamp_(min=0)
    return squared_distances_FF.sqrt_().fill_diagonal_(0).sum(1)


def score(model: nn.Module, trace: Trace, seed: int) -> dict[str, Tensor]:
    """Geometric median scores (L2) of every layer's filters; see `geometric_median_scores`."""
    state = model.state_dict()
    return {
        layer.name: geometric_median_scores(filters_of(layer, state[layer.weight]))
        for layer in scored_layers(trace.map)
    }
