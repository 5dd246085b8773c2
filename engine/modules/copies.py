"""Copies of modules whose parameters are made at once as they are to be: nothing is held twice on the way."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def copied(model: nn.Module, make: Callable[[Tensor], Tensor]) -> nn.Module:
    """A deep copy in which every plain parameter holds what `make` gives for its values.

    Parameters of kinds of their own, and buffers, are copied as they are.
    """
    made = {
        id(parameter): nn.Parameter(make(parameter.data), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
        if type(parameter) is nn.Parameter
    }
    return copy.deepcopy(model, dict(made))


def unfilled(model: nn.Module) -> nn.Module:
    """A deep copy to be loaded: its plain parameters take no memory until they are written to."""
    return copied(model, torch.empty_like)


def computing_in(kind: torch.dtype, model: nn.Module, *, share: bool = False) -> nn.Module:
    """A copy on the CPU, in evaluation mode, whose real numbers are of type `kind`; complex ones stay.

    Args:
        kind: float64 or float32.
        model: left as it is.
        share: parameters that are so already are the same memory: nobody will write to them.
    """

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to("cpu", kind if tensor.is_floating_point() else tensor.dtype, copy=not share)

    made = copied(model, cast).cpu().eval()
    return made.double() if kind is torch.float64 else made.float()
