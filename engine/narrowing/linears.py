"""What linear layers make in a pass, watched where their code asks for it: the value proof compares it.

Operations that run below Python show no linear layers any more, only products of matrices in some layout.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..graph.channels import ChannelMap

Keep = Callable[[str, int, Tensor], Any]  # from the name of a weight, which call this is, and what it made


class LinearOutputs(TorchFunctionMode):
    """Collects the outputs of linear layers, by the name of their weight, in the order of their calls.

    It is entered after whatever stands in for a network's tensors: it knows them by what they are.

    Attributes:
        made: per weight, what `keep` made of the outputs.
    """

    def __init__(self, model: nn.Module, channel_map: ChannelMap, keep: Keep) -> None:
        """Watch the layers that a channel map knows.

        Args:
            model: whose parameters, or stand-ins for them, the layers read.
            channel_map: of the full network, whether `model` is that or a narrow one.
            keep: what is kept of an output.
        """
        super().__init__()
        self.made: dict[str, list[Any]] = defaultdict(list)
        self._keep = keep
        known = {layer.weight for layer in channel_map.layers if layer.kind == "linear"}
        self._names: dict[int, str] = {}
        for name, tensor in model.named_parameters(remove_duplicate=False):
            first = channel_map.ties.get(name, name)
            if first in known:
                self._names[id(tensor)] = first

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func == F.linear:
            weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
            name = self._names.get(id(weight))
            if name is not None:
                calls = self.made[name]
                calls.append(self._keep(name, len(calls), made))
        return made
