"""The L1 norm of each filter (Li et al., ICLR 2017)."""

import torch
from torch import Tensor, nn

from ..graph.filters import filters_of, scored_layers
from ..graph.trace import Trace

NEEDS = "weights"
LARGE = 2**21  # weights that are held in float64 at once


def l1_norms(weight_FCHW: Tensor) -> Tensor:
    """Score each filter by the sum of its absolute weights.

    Li et al., ICLR 2017, arXiv 1608.08710, section 3.1.

    Args:
        weight_FCHW: one layer's weight, F filters, any float dtype; (F, C) of a linear layer.

    Returns:
        scores_F, float64, in the unit of the weights.
    """
    rows = max(1, LARGE * len(weight_FCHW) // max(1, weight_FCHW.numel()))
    return torch.cat([some.double().abs().flatten(1).sum(1) for some in weight_FCHW.split(rows)])


def score(model: nn.Module, trace: Trace, seed: int) -> dict[str, Tensor]:
    """L1 norms of every layer's filters; see `l1_norms`."""
    state = model.state_dict()
    return {
        layer.name: l1_norms(filters_of(layer, state[layer.weight])) for layer in scored_layers(trace.map)
    }
