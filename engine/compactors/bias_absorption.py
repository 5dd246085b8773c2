"""The constants that dead channels leave behind depthwise convolutions go into the biases that follow."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..graph.channels import ChannelMap, Ids


@torch.no_grad()
def constants_of_dead_channels(
    wide: nn.Module,
    channel_map: ChannelMap,
    takers: Mapping[str, Ids],
    gone: NDArray[np.bool_],
    images_NCHW: Tensor,
) -> dict[str, Tensor]:
    """Read off what dead channels add to the filters of the layers that take it, in a run with them silenced.

    Args:
        wide: the network with BN folded and all channels in place.
        channel_map: of it.
        takers: layer -> ids that it may read as a constant.
        gone: the removal mask of the dead channels.
        images_NCHW: any images: what is read off does not depend on them.
    Returns:
        Layer -> constants_F, for all its filters.
    """
    silenced = _silenced(wide, channel_map, gone)
    readers = {name: silenced.get_submodule(name) for name, ids in takers.items() if gone[ids].any()}
    read: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        read[module] = given[0]

    handles = [module.register_forward_pre_hook(note) for module in readers.values()]
    silenced(images_NCHW)
    for handle in handles:
        handle.remove()
    return {
        name: _response(module, read[module], gone[channel_map.layer(name).in_ids])
        for name, module in readers.items()
    }


@torch.no_grad()
def absorb_into_biases(
    narrow: nn.Module, constants_F: Mapping[str, Tensor], channel_map: ChannelMap, gone: NDArray[np.bool_]
) -> None:
    """Let the narrow network's biases take over what its dead channels added to the filters that are left."""
    for name, constant_F in constants_F.items():
        kept = torch.from_numpy(np.flatnonzero(~gone[channel_map.layer(name).out_ids]))
        narrow.get_parameter(f"{name}.bias").add_(constant_F[kept])


def _silenced(wide: nn.Module, channel_map: ChannelMap, gone: NDArray[np.bool_]) -> nn.Module:
    """A copy in which every convolution makes zeros of its dead channels; depthwise ones speak on."""
    silenced = copy.deepcopy(wide)
    for layer in channel_map.layers:
        rows = torch.from_numpy(np.flatnonzero(gone[layer.out_ids]))
        if layer.kind == "conv" and len(rows):
            for name in filter(None, (layer.weight, layer.bias)):
                silenced.get_parameter(name).index_fill_(0, rows, 0)
    return silenced


def _response(layer: Any, x: Tensor, dead_C: NDArray[np.bool_]) -> Tensor:
    """What the dead channels of its input contribute to each filter of a layer, the same at every pixel."""
    channel_axis = x.dim() - 1 if isinstance(layer, nn.Linear) else 1
    dead = torch.from_numpy(dead_C).to(x)
    dead = dead.reshape([-1 if axis == channel_axis else 1 for axis in range(x.dim())])
    response = layer(x * dead) - layer(torch.zeros_like(x))
    return response.movedim(channel_axis, 0).flatten(1)[:, 0]
