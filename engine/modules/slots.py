"""Modules that act on what another module of any network returns, in a slot that its state dict knows."""

from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def place(model: nn.Module, unit: str, slot: str, guest: nn.Module) -> None:
    """Put `guest` into a slot of the module called `unit`, and be part of it.

    Our own units have the slot and know what to do with it. Any other module applies it to whatever it
    returns in a forward hook, which copies, state dicts and torch.export keep.
    """
    module = model.get_submodule(unit)
    if not hasattr(module, slot):
        module.register_module(slot, None)
        module.register_forward_hook(partial(_apply, slot))
    setattr(module, slot, guest)


def placed(model: nn.Module, slot: str, kind: type[M]) -> dict[str, M]:
    """Unit -> what its slot holds, in the order of the modules."""
    return {
        name: guest
        for name, module in model.named_modules()
        if isinstance(guest := getattr(module, slot, None), kind)
    }


def _apply(slot: str, module: Any, _: tuple[Tensor, ...], out_NCHW: Tensor) -> Tensor:
    guest = getattr(module, slot)
    return out_NCHW if guest is None else guest(out_NCHW)
