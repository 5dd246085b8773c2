"""The filters of a convolution, whatever its kind."""

from torch import Tensor

from .channels import NO_ID, ChannelMap, Layer


def scored_layers(channel_map: ChannelMap) -> list[Layer]:
    """The convolutions whose filters can be scored: they make channels of their own, in forward order.

    A depthwise convolution passes its producer's channels through, and a linear layer has no filters.
    """
    return [
        layer
        for layer in channel_map.layers
        if layer.kind in ("conv", "transposed") and (layer.out_ids != NO_ID).any()
    ]


def filters_of(layer: Layer, weight: Tensor) -> Tensor:
    """View a layer's weight as one filter per output channel.

    Args:
        layer: a convolution.
        weight: its weight, (F, C/groups, ...) or, transposed, (C, F, ...).

    Returns:
        weight_FCHW, in the order of the layer's output channels.
    """
    if layer.kind != "transposed":
        return weight
    by_group = weight.unflatten(0, (layer.groups, -1))  # (G, C/G, F/G, ...)
    return by_group.transpose(1, 2).flatten(0, 1)
