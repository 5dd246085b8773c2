"""Expansions in their places: narrow tensors on the way into a full-width residual stream."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ..archs.units import Expand

KEY = ".expand.index"


def place(model: nn.Module, unit: str, expand: Expand) -> None:
    """Let `expand` act on the stream that a `Merge` takes, or on what any other module returns.

    A `Merge` has a slot for it. Any other module applies it in a forward hook, which copies, state dicts and
    torch.export keep.
    """
    module: Any = model.get_submodule(unit)
    if not hasattr(module, "expand"):
        module.register_module("expand", None)
        module.register_forward_hook(_expand)
    module.expand = expand


def place_stored(model: nn.Module, names: Iterable[str]) -> None:
    """Place expansions, yet to be filled, wherever stored names say that there are some."""
    modules = dict(model.named_modules())
    for unit in (name.removesuffix(KEY) for name in names if name.endswith(KEY)):
        if unit in modules:
            place(model, unit, Expand(1))  # fitting gives it its width


def placed(model: nn.Module) -> dict[str, Expand]:
    """Unit -> its expansion, in the order of the modules."""
    return {
        name: expand
        for name, module in model.named_modules()
        if isinstance(expand := getattr(module, "expand", None), Expand)
    }


def take_away(model: nn.Module, unit: str) -> None:
    """Take one expansion out of the network."""
    module: Any = model.get_submodule(unit)
    module.expand = None


def nothing_instead(model: nn.Module, unit: str) -> None:
    """Replace a module by one that passes everything on; its expansion, if it has one, stays in place."""
    expand = getattr(model.get_submodule(unit), "expand", None)
    owner, _, slot = unit.rpartition(".")
    setattr(model.get_submodule(owner), slot, nn.Identity())
    if isinstance(expand, Expand):
        place(model, unit, expand)


def _expand(module: Any, _: tuple[Tensor, ...], out_NCHW: Tensor) -> Tensor:
    return out_NCHW if module.expand is None else module.expand(out_NCHW)
