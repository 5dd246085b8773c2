"""Who reads the channels of a group: the layers that can make up for those that leave."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..graph.channels import ChannelMap, Group
from .affine import Layer
from .paths import path_of
from .program import Call, Program


@dataclass(frozen=True, eq=False)
class Reading:
    """One layer that reads channels of a group.

    Attributes:
        layer: with the normalisation behind it.
        own: where its outputs appear, normalised.
        inputs: (C, B), per channel its positions among the inputs of one output.
        channels: (C,), which channels of the group these are.
    """

    layer: Layer
    own: fx.Node
    inputs: Tensor
    channels: Tensor

    @property
    def call(self) -> Call:
        """Where the layer is applied."""
        return self.layer.call


def readings(
    model: nn.Module, program: Program, channel_map: ChannelMap, groups: tuple[Group, ...]
) -> dict[str, tuple[Reading, ...]]:
    """Group name -> the layers that read its channels, in forward order.

    Depthwise convolutions pass channels on and read none. A layer that reads some channels more often than
    others, or whose weight is used twice, is left out: nothing is made up for there.
    """
    found: dict[str, list[Reading]] = {group.name: [] for group in groups}
    for call in program.calls:
        ids = _input_ids(channel_map, call)
        if ids is None:
            continue
        path = path_of(program, call, 0)
        layer = Layer(model, call, path.norm)
        for group in groups:
            places = _places(group.channels, ids, layer)
            if places is not None:
                found[group.name].append(Reading(layer, path.own, *places))
    return {name: tuple(listed) for name, listed in found.items()}


def first_touched(program: Program, channel_map: ChannelMap, group: Group) -> int:
    """The place of the first operation whose parameters the group's channels index."""
    mine = set(group.channels.tolist())
    places = [
        program.place[user]
        for node, name in program.names.items()
        if any(not mine.isdisjoint(axis.ids.tolist()) for axis in channel_map.axes_of(name))
        for user in program.users[node]
        if user in program.place
    ]
    return min(places)


def _input_ids(channel_map: ChannelMap, call: Call) -> np.ndarray | None:
    """Ids along the axis of the weight that reads, of one group of a grouped convolution."""
    dim = 0 if call.kind == "transposed" else 1
    axes: Mapping[int, np.ndarray] = {axis.dim: axis.ids for axis in channel_map.axes_of(call.weight)}
    depthwise = dim == 0 and call.groups > 1
    return None if depthwise else axes.get(dim)


def _places(channels: np.ndarray, ids: np.ndarray, layer: Layer) -> tuple[Tensor, Tensor] | None:
    present = np.flatnonzero(np.isin(channels, ids))
    found = [np.flatnonzero(ids == channel) for channel in channels[present]]
    if not found or len({len(one) for one in found}) > 1:
        return None
    size = int(np.prod(layer.kernel, dtype=np.int64))
    inputs = np.stack([(one[:, None] * size + np.arange(size)).ravel() for one in found])
    return torch.from_numpy(inputs), torch.from_numpy(present)
