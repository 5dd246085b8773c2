"""Compactors in their places: behind a module of any network, where its state dict keeps them."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ...archs.units import Compactor
from . import slots

KEY = ".compactor.pwc.weight"


def place(model: nn.Module, unit: str, compactor: Compactor) -> None:
    """Let `compactor` act on whatever the module called `unit` returns, and be part of it."""
    slots.place(model, unit, "compactor", compactor)


def place_stored(model: nn.Module, state: Mapping[str, Tensor], ties: Mapping[str, str]) -> None:
    """Place compactors, yet to be filled, wherever stored tensors say that there are some.

    Args:
        model: the network without compactors.
        state: names of stored tensors; those that belong to no module of the network are passed over.
        ties: later name -> first name of tensors that several modules share: such a compactor is one module.
    """
    modules = dict(model.named_modules())
    units = [name.removesuffix(KEY) for name in state if name.endswith(KEY)]
    compactors = {unit: Compactor(1) for unit in units if unit in modules}  # fitting gives them their widths
    for alias, first in ties.items():
        unit, shared = alias.removesuffix(KEY), compactors.get(first.removesuffix(KEY))
        if alias.endswith(KEY) and unit in modules and shared is not None:
            compactors[unit] = shared
    for unit, compactor in compactors.items():
        place(model, unit, compactor)


def placed(model: nn.Module) -> dict[str, Compactor]:
    """Unit -> its compactor, in the order of the modules; units of one stream may share theirs."""
    return slots.placed(model, "compactor", Compactor)


def take_away(model: nn.Module, units: Iterable[str] | None = None) -> nn.Module:
    """Take the compactors of these units, or all, out of the network; returns it."""
    for unit in placed(model) if units is None else units:
        module: Any = model.get_submodule(unit)
        module.compactor = None
    return model
