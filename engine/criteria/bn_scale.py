"""The scale of the batch normalisation that follows each filter (Liu et al., ICCV 2017)."""

import numpy as np
from torch import Tensor, nn

from ..errors import CriterionError
from ..graph.channels import ChannelMap, Layer, Role
from ..graph.filters import narrowed_layers, scored_layers
from ..graph.trace import Trace

NEEDS = "weights"


def bn_scales(gamma_F: Tensor) -> Tensor:
    """Score each filter by |gamma|, the scale its batch normalisation gives it.

    Liu et al., ICCV 2017, arXiv 1708.06519, section 3.

    Args:
        gamma_F: the batch normalisation's weight.

    Returns:
        scores_F, float64.
    """
    return gamma_F.double().abs()


def following_bn_weights(channel_map: ChannelMap) -> dict[str, str]:
    """Name, per layer, the weight of the batch normalisation that normalises exactly its channels.

    Returns:
        Layer name -> parameter name; layers without such a normalisation are absent.
    """
    order = {name: position for position, name in enumerate(channel_map.shapes)}
    normalisations = {
        name.removesuffix("running_var") + "weight": axes[0].ids
        for name, axes in channel_map.axes.items()
        if name.endswith("running_var") and axes[0].role is Role.SCALES
    }
    candidates = {name: ids for name, ids in normalisations.items() if name in channel_map.parameters}

    def follower(layer: Layer) -> str | None:
        # In a residual stream several normalisations carry the same ids: the next by name is its own.
        fitting = [name for name, ids in candidates.items() if np.array_equal(ids, layer.out_ids)]
        later = [name for name in fitting if order[name] > order[layer.weight]]
        return min(later or fitting, key=order.__getitem__, default=None)

    followers = {layer.name: follower(layer) for layer in scored_layers(channel_map)}
    return {name: weight for name, weight in followers.items() if weight is not None}


def passed_over(channel_map: ChannelMap) -> list[str]:
    """The linear layers that no batch normalisation follows: few have one, so they stay whole."""
    weights = following_bn_weights(channel_map)
    scored = narrowed_layers(channel_map)
    return [layer.name for layer in scored if layer.kind == "linear" and layer.name not in weights]


def score(model: nn.Module, trace: Trace, seed: int) -> dict[str, Tensor]:
    """Batch normalisation scales of every layer; see `bn_scales`.

    Convolutions that can never be pruned need no normalisation, and have no scores without one; nor have
    linear layers, see `passed_over`.

    Raises:
        CriterionError: a convolution that could be pruned has no batch normalisation of its own.
    """
    channel_map = trace.map
    weights = following_bn_weights(channel_map)
    missing = [
        layer.name
        for layer in scored_layers(channel_map)
        if layer.name not in weights
        and layer.kind != "linear"
        and not channel_map.pinned.keys() >= set(layer.out_ids.tolist())
    ]
    if missing:
        raise CriterionError(
            f"bn-scale needs a batch normalisation right behind each convolution; none follows "
            f"{', '.join(missing)}; choose another criterion"
        )
    state = model.state_dict()
    return {name: bn_scales(state[weight]) for name, weight in weights.items()}
