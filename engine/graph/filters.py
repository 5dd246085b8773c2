"""The filters of a layer, whatever its kind: what makes one output channel, or one unit of a linear layer."""

from collections.abc import Collection

from torch import Tensor

from .channels import NO_ID, ChannelMap, Layer


def scored_layers(channel_map: ChannelMap) -> list[Layer]:
    """The layers whose filters can be scored, in forward order.

    Convolutions and linear layers that make channels of their own, also where these cannot leave: in
    `scatter` they may. A depthwise convolution passes its producer's channels through, and a linear layer
    that speaks as the network's output stays whole.
    """
    made = {c for group in channel_map.groups if group.producers for c in group.channels.tolist()}
    units = (layer for layer in channel_map.layers if layer.kind == "linear")
    return _with_units(channel_map, {u.name for u in units if not made.isdisjoint(u.out_ids.tolist())})


def narrowed_layers(channel_map: ChannelMap) -> list[Layer]:
    """The scored layers that can be narrowed: all convolutions, and linear layers with free units."""
    free = (group for group in channel_map.groups if group.free.any())
    return _with_units(channel_map, {name for group in free for name in group.producers})


def _with_units(channel_map: ChannelMap, units: Collection[str]) -> list[Layer]:
    """The convolutions, and these linear layers."""
    return [
        layer
        for layer in channel_map.layers
        if (layer.kind == "linear" and layer.name in units) or _has_maps(layer)
    ]


def scored_convolutions(channel_map: ChannelMap) -> list[Layer]:
    """Those of the scored layers that make feature maps."""
    return [layer for layer in channel_map.layers if _has_maps(layer)]


def filters_of(layer: Layer, weight: Tensor) -> Tensor:
    """View a layer's weight as one filter per output channel.

    Args:
        layer: a convolution or linear layer.
        weight: its weight, (F, C/groups, ...) or, transposed, (C, F, ...); (F, C) of a linear layer.

    Returns:
        weight_FCHW, in the order of the layer's output channels; of a linear layer weight_FC.
    """
    if layer.kind != "transposed":
        return weight
    by_group = weight.unflatten(0, (layer.groups, -1))  # (G, C/G, F/G, ...)
    return by_group.transpose(1, 2).flatten(0, 1)


def _has_maps(layer: Layer) -> bool:
    return layer.kind in ("conv", "transposed") and bool((layer.out_ids != NO_ID).any())
