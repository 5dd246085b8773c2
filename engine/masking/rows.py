"""Masked channels in a network that trains: what makes them is set to zero, and can be kept there."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from ..devices import device_of
from ..graph.channels import ChannelMap, Role
from ..graph.filters import scored_layers
from ..modules.fit import load
from ..narrowing.surgery import mask


@dataclass(frozen=True, eq=False)
class MaskedRows:
    """What a parameter holds of masked channels: its `rows` (int64, where the parameter is) along `dim`."""

    parameter: nn.Parameter
    dim: int
    rows: Tensor


def masked_filters(model: nn.Module, channel_map: ChannelMap, masked: Iterable[int]) -> list[MaskedRows]:
    """The filters of masked channels, in the weights of the convolutions that make them."""
    weights = dict.fromkeys(layer.weight for layer in scored_layers(channel_map))
    return _rows(model, channel_map, masked, weights)


def masked_producers(model: nn.Module, channel_map: ChannelMap, masked: Iterable[int]) -> list[MaskedRows]:
    """All that makes masked channels: weights and biases of convolutions and of BN."""
    return _rows(model, channel_map, masked, [name for name, _ in model.named_parameters()])


def _rows(
    model: nn.Module, channel_map: ChannelMap, masked: Iterable[int], names: Iterable[str]
) -> list[MaskedRows]:
    gone = channel_map.removal_mask(masked)
    found: list[MaskedRows] = []
    for name in names:
        parameter = model.get_parameter(name)
        for axis in channel_map.axes_of(name):
            rows = np.flatnonzero(gone[axis.ids])
            if axis.role is Role.PRODUCES and len(rows):
                found.append(MaskedRows(parameter, axis.dim, torch.from_numpy(rows).to(parameter.device)))
    return found


@torch.no_grad()
def zero_weights(masked: Iterable[MaskedRows]) -> None:
    """Set the masked rows themselves to zero."""
    for m in masked:
        m.parameter.index_fill_(m.dim, m.rows, 0)


def zero_gradients(masked: Iterable[MaskedRows]) -> None:
    """Let the coming step leave masked rows as they are, as long as they are zero and have no momentum."""
    for m in masked:
        if m.parameter.grad is not None:
            m.parameter.grad.index_fill_(m.dim, m.rows, 0)


def zero_momentum(masked: Iterable[MaskedRows], optimizer: SGD) -> None:
    """Forget what moved masked rows before they were masked."""
    for m in masked:
        momentum = optimizer.state.get(m.parameter, {}).get("momentum_buffer")
        if momentum is not None:
            momentum.index_fill_(m.dim, m.rows, 0)


def silence(model: nn.Module, channel_map: ChannelMap, masked: Iterable[int]) -> None:
    """Zero everything that makes masked channels, BN's constants and shortcuts into them included."""
    load(model, mask(model.state_dict(), channel_map, masked))


def ids_on(masked: Iterable[int], model: nn.Module) -> Tensor:
    """Channel ids, ascending, where the model is: as checkpoints keep them and processes compare them."""
    return torch.tensor(sorted(masked), dtype=torch.int64, device=device_of(model))
