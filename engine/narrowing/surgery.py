"""Pruning is slicing named tensors: the same few lines for every network and every method."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..graph.channels import ChannelMap, IndexTensor, Role

ZERO_CHANNEL = -1  # in an index tensor: this channel is all zeros


def narrow(state: Mapping[str, Tensor], channel_map: ChannelMap, removed: Iterable[int]) -> dict[str, Tensor]:
    """Cut the removed channels out of every tensor.

    Args:
        state: a full state dict; index tensors may be absent where they are trivial.
        removed: channel ids.
    Returns:
        New tensors throughout, in the same order; index tensors that the removal touches are appended.
    """
    gone = channel_map.removal_mask(removed)
    cut = {name: cut_tensor(tensor, name, channel_map, gone) for name, tensor in state.items()}
    for index in channel_map.indices:
        if gone[index.own_ids].any() or gone[index.target_ids].any():
            cut[index.name] = torch.from_numpy(_renumbered(index, gone))
    return cut


def narrow_shapes(
    state: Mapping[str, Tensor], learned: Collection[str], channel_map: ChannelMap, removed: Iterable[int]
) -> dict[str, Tensor]:
    """As `narrow`; the tensors named in `learned` are nothing but shapes, on the meta device."""
    looks = {name: tensor.to("meta") if name in learned else tensor for name, tensor in state.items()}
    return narrow(looks, channel_map, removed)


def mask(state: Mapping[str, Tensor], channel_map: ChannelMap, removed: Iterable[int]) -> dict[str, Tensor]:
    """Zero the removed channels where they are produced; consumers and shapes stay as they are.

    A padding shortcut produces channels too: where it would copy into a removed one, it gives zeros instead.
    """
    masked = {name: tensor.clone() for name, tensor in state.items()}
    mask_in_place(masked, channel_map, removed)
    return masked


def mask_in_place(state: dict[str, Tensor], channel_map: ChannelMap, removed: Iterable[int]) -> None:
    """As `mask`: weights are written to, indices of shortcuts replaced by new tensors."""
    gone = channel_map.removal_mask(removed)
    for name, tensor in state.items():
        masked_tensor(tensor, name, channel_map, gone)
    for index in channel_map.indices:
        masked = masked_index(index, channel_map, gone)
        if masked is not None:
            state[index.name] = masked


def masked_tensor(tensor: Tensor, name: str, channel_map: ChannelMap, gone: np.ndarray) -> Tensor:
    """Zero what a tensor called `name` makes of the channels that a removal mask says are gone, in place."""
    for axis in channel_map.axes_of(name):
        rows = np.flatnonzero(gone[axis.ids])
        if axis.role is Role.PRODUCES and len(rows):
            tensor.index_fill_(axis.dim, torch.from_numpy(rows).to(tensor.device), 0)
    return tensor


def masked_index(index: IndexTensor, channel_map: ChannelMap, gone: np.ndarray) -> Tensor | None:
    """What an index tensor is where it gives zeros instead of channels that left; None: as it was."""
    if channel_map.axes_of(index.name)[0].role is not Role.SELECTS or not gone[index.own_ids].any():
        return None
    return torch.from_numpy(np.where(gone[index.own_ids], ZERO_CHANNEL, index.values))


def cut_tensor(tensor: Tensor, name: str, channel_map: ChannelMap, gone: np.ndarray) -> Tensor:
    """A tensor of the shape of `name` without the channels that a removal mask says are gone; a copy."""
    cut = tensor
    for axis in channel_map.axes_of(name):
        kept = np.flatnonzero(~gone[axis.ids])
        if len(kept) < len(axis.ids):
            cut = cut.index_select(axis.dim, torch.from_numpy(kept).to(tensor.device))
    return tensor.clone() if cut is tensor else cut


def _renumbered(index: IndexTensor, gone: np.ndarray) -> np.ndarray:
    """The values after the removal: entries that stay, pointing to where their targets now stand."""
    alive = ~gone[index.target_ids]
    new_position = np.where(alive, np.cumsum(alive) - 1, ZERO_CHANNEL)
    kept = index.values[~gone[index.own_ids]]
    return np.where(kept == ZERO_CHANNEL, ZERO_CHANNEL, new_position[kept])
