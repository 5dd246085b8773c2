"""Float64 without a copy of the network: its tensors are cast, and masked, where an operation reads them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..graph.channels import ChannelMap
from .surgery import masked_index, masked_tensor

_CONVOLUTIONS = frozenset(
    {
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.conv_transpose2d,
        torch.conv_transpose3d,
    }
)


class StandIns:
    """What operations read instead of a network's own parameters and buffers.

    It is made when an operation asks for it and forgotten after that: a network is masked and computes in
    float64 while no more than one of its layers is held twice.
    """

    def __init__(
        self, model: nn.Module, channel_map: ChannelMap | None = None, removed: Iterable[int] = ()
    ) -> None:
        """Stand in for the tensors of `model`, masked where a channel map says what leaves."""
        self._map, self._gone = channel_map, np.zeros(0, dtype=bool)
        self._indices: dict[str, Tensor] = {}
        self._names = {id(tensor): name for name, tensor in _tensors(model)}
        if channel_map is not None:
            self._gone = channel_map.removal_mask(removed)
            masked = {i.name: masked_index(i, channel_map, self._gone) for i in channel_map.indices}
            self._indices = {name: index for name, index in masked.items() if index is not None}

    def put_in(self, arguments: Any) -> Any:
        """The arguments of an operation, any tree, with stand-ins for the network's tensors."""
        return pytree.tree_map_only(Tensor, self._one, arguments)

    def _one(self, tensor: Tensor) -> Tensor:
        name = self._names.get(id(tensor))
        if name is None:
            return tensor
        if name in self._indices:
            return self._indices[name]
        if not tensor.is_floating_point():
            return tensor.cpu()
        doubled = tensor.detach().to("cpu", torch.float64, copy=True)
        return doubled if self._map is None else masked_tensor(doubled, name, self._map, self._gone)


class AtConvolutions(TorchFunctionMode):
    """Puts stand-ins in where a convolution is called.

    It refuses a bias of another type than its input's before any operation could be given another one.
    """

    def __init__(self, stand_ins: StandIns) -> None:
        super().__init__()
        self._stand_ins = stand_ins

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _CONVOLUTIONS:
            args, kwargs = self._stand_ins.put_in((args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
