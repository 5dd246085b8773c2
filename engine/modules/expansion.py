"""Expansions in their places: narrow tensors on the way into a full-width residual stream."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from ...archs.units import Expand
from . import slots

KEY = ".expand.index"


def place(model: nn.Module, unit: str, expand: Expand) -> None:
    """Let `expand` act on the stream that a `Merge` takes, or on what any other module returns."""
    slots.place(model, unit, "expand", expand)


def place_stored(model: nn.Module, names: Iterable[str]) -> None:
    """Place expansions, yet to be filled, wherever stored names say that there are some."""
    modules = dict(model.named_modules())
    for unit in (name.removesuffix(KEY) for name in names if name.endswith(KEY)):
        if unit in modules:
            place(model, unit, Expand(1))  # fitting gives it its width


def placed(model: nn.Module) -> dict[str, Expand]:
    """Unit -> its expansion, in the order of the modules."""
    return slots.placed(model, "expand", Expand)


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
