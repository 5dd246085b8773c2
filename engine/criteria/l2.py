"""The L2 norm of each filter (He et al., IJCAI 2018)."""

from torch import Tensor, nn

from ..graph.filters import filters_of, scored_layers
from ..graph.trace import Trace

NEEDS = "weights"


def l2_norms(weight_FCHW: Tensor) -> Tensor:
    """Score each filter by its Euclidean norm.

    He et al., IJCAI 2018, arXiv 1808.06866, Eq. 2 with p = 2.

    Args:
        weight_FCHW: one layer's weight, F filters, any float dtype; (F, C) of a linear layer.

    Returns:
        scores_F, float64, in the unit of the weights.
    """
    return weight_FCHW.double().flatten(1).norm(dim=1)


def score(model: nn.Module, trace: Trace, seed: int) -> dict[str, Tensor]:
    """L2 norms of every layer's filters; see `l2_norms`."""
    state = model.state_dict()
    return {
        layer.name: l2_norms(filters_of(layer, state[layer.weight])) for layer in scored_layers(trace.map)
    }
