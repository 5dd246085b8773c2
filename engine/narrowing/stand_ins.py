"""Float64 without a copy of the network: its tensors are cast, and masked, where code reads them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..freed import give_back
from ..graph.channels import ChannelMap
from .surgery import masked_index, masked_tensor

# What is asked of a tensor that its stand-in would answer alike.
_ALIKE = frozenset(
    {
        getattr(Tensor, name)
        for name in ("size", "dim", "ndimension", "numel", "nelement", "is_floating_point")
    }
    | {getattr(Tensor, name).__get__ for name in ("shape", "ndim", "requires_grad", "is_leaf", "layout")}
)

AT_ONCE = 2**25  # bytes of stand-ins that may be forgotten before their memory is given back


class StandIns(TorchFunctionMode):
    """What code reads, as long as the context lasts, instead of a network's own parameters and buffers.

    It is made when code asks for it and forgotten after that: a network is masked and computes in float64
    while no more than one of its layers is held twice.
    """

    def __init__(
        self, model: nn.Module, channel_map: ChannelMap | None = None, removed: Iterable[int] = ()
    ) -> None:
        """Stand in for the tensors of `model`, masked where a channel map says what leaves."""
        super().__init__()
        self._map, self._gone = channel_map, np.zeros(0, dtype=bool)
        self._indices: dict[str, Tensor] = {}
        self._forgotten = 0  # bytes of what was made for one call
        self._names = {id(tensor): name for name, tensor in _tensors(model)}
        if channel_map is not None:
            self._gone = channel_map.removal_mask(removed)
            masked = {i.name: masked_index(i, channel_map, self._gone) for i in channel_map.indices}
            self._indices = {name: index for name, index in masked.items() if index is not None}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _ALIKE:
            return func(*args, **(kwargs or {}))
        given, named = pytree.tree_map_only(Tensor, self._one, (tuple(args), dict(kwargs or {})))
        made = func(*given, **named)
        if self._forgotten > AT_ONCE:
            del given, named
            self._forgotten = 0
            give_back()
        return made

    def _one(self, tensor: Tensor) -> Tensor:
        name = self._names.get(id(tensor))
        if name is None:
            return tensor
        if name in self._indices:
            return self._indices[name]
        if not tensor.is_floating_point():
            return tensor.cpu()
        doubled = tensor.detach().to("cpu", torch.float64, copy=True)
        self._forgotten += doubled.nbytes
        return doubled if self._map is None else masked_tensor(doubled, name, self._map, self._gone)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
