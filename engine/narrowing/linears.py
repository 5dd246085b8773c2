"""What linear layers make in a pass, watched where their code asks for it: the value proof compares it.

Operations that run below Python show no linear layers any more, only products of matrices in some layout.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..graph.channels import ChannelMap


class LinearOutputs(TorchFunctionMode):
    """Collects the outputs of linear layers, by the name of their weight, in the order of their calls.

    It is entered after whatever stands in for a network's tensors: it knows them by what they are.
    """

    def __init__(self, model: nn.Module, channel_map: ChannelMap, gone: np.ndarray | None = None) -> None:
        """Watch the layers that a channel map knows.

        Args:
            model: whose parameters, or stand-ins for them, the layers read.
            channel_map: of the full network, whether `model` is that or a narrow one.
            gone: the removal mask, where only those outputs are of interest that stay.
        """
        super().__init__()
        self.made: dict[str, list[Tensor]] = defaultdict(list)
        layers = [layer for layer in channel_map.layers if layer.kind == "linear"]
        self._kept: dict[str, Tensor | None] = {
            layer.weight: None if gone is None else torch.from_numpy(np.flatnonzero(~gone[layer.out_ids]))
            for layer in layers
        }
        self._names: dict[int, str] = {}
        for name, tensor in model.named_parameters(remove_duplicate=False):
            first = channel_map.ties.get(name, name)
            if first in self._kept:
                self._names[id(tensor)] = first

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func == F.linear:
            weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
            name = self._names.get(id(weight))
            if name is not None:
                kept = self._kept[name]
                self.made[name].append(made if kept is None else made.index_select(-1, kept))
        return made


def apart(
    wide: LinearOutputs, thin: LinearOutputs, difference: Callable[[Tensor, Tensor, str], float]
) -> Iterator[float]:
    """How far two networks' outputs of linear layers are from each other, call by call.

    Layers that the two call in other ways are passed over: attention of torch's own makes its products below
    Python, and becomes code of ours where heads have left.
    """
    for weight, outputs in wide.made.items():
        others = thin.made.get(weight, [])
        if len(outputs) == len(others):
            for one, other in zip(outputs, others, strict=True):
                yield difference(one, other, weight.removesuffix(".weight"))
