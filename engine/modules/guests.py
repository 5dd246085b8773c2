"""Guests: modules that act on what another module returns, in a slot that its state dict knows.

Compactors act on what convolutions make while ResRep trains; expansions bring narrow tensors to the full
width of the residual stream that they go into, or of what else must have it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from ...archs.units import Compactor, Expand

M = TypeVar("M", Compactor, Expand)


@dataclass(frozen=True)
class Guests(Generic[M]):
    """One kind of guest.

    Attributes:
        slot: the attribute of its host that holds it.
        kind: the type of the guests; one of any width is made by `kind(width)`.
        tensor: the name, within the guest, of the tensor that shows in a file that there is one.
    """

    slot: str
    kind: type[M]
    tensor: str

    def place(self, model: nn.Module, unit: str, guest: M) -> None:
        """Let `guest` act on whatever the module called `unit` returns, and be part of it.

        Our own units have the slot and know what to do with it, as `Merge` does with the stream it takes. Any
        other module applies it in a forward hook, which copies, state dicts and torch.export keep.
        """
        module = model.get_submodule(unit)
        if not hasattr(module, self.slot):
            module.register_module(self.slot, None)
            module.register_forward_hook(partial(_apply, self.slot))
        if isinstance(guest, Expand):
            guest.dim = -1 if isinstance(module, nn.Linear) else 1
        setattr(module, self.slot, guest)

    def place_stored(
        self, model: nn.Module, names: Iterable[str], ties: Mapping[str, str] | None = None
    ) -> None:
        """Place guests, yet to be filled, wherever names of stored tensors say that there are some.

        Args:
            model: the network without such guests.
            names: those that belong to no module of the network are passed over.
            ties: later name -> first name of tensors that several modules share: such a guest is one module.
        """
        modules, key = dict(model.named_modules()), f".{self.slot}.{self.tensor}"
        units = [name.removesuffix(key) for name in names if name.endswith(key)]
        guests = {unit: self.kind(1) for unit in units if unit in modules}  # fitting gives them their widths
        for alias, first in (ties or {}).items():
            unit, shared = alias.removesuffix(key), guests.get(first.removesuffix(key))
            if alias.endswith(key) and unit in modules and shared is not None:
                guests[unit] = shared
        for unit, guest in guests.items():
            self.place(model, unit, guest)

    def placed(self, model: nn.Module) -> dict[str, M]:
        """Unit -> its guest, in the order of the modules; units of one stream may share theirs."""
        return {
            name: guest
            for name, module in model.named_modules()
            if isinstance(guest := getattr(module, self.slot, None), self.kind)
        }

    def take_away(self, model: nn.Module, units: Iterable[str] | None = None) -> nn.Module:
        """Take the guests of these units, or all of this kind, out of the network; returns it."""
        for unit in self.placed(model) if units is None else units:
            setattr(model.get_submodule(unit), self.slot, None)
        return model


COMPACTORS = Guests("compactor", Compactor, "pwc.weight")
EXPANSIONS = Guests("expand", Expand, "index")


def nothing_instead(model: nn.Module, unit: str) -> None:
    """Replace a module by one that passes everything on; its expansion, if it has one, stays in place."""
    expand = getattr(model.get_submodule(unit), EXPANSIONS.slot, None)
    owner, _, slot = unit.rpartition(".")
    setattr(model.get_submodule(owner), slot, nn.Identity())
    if isinstance(expand, Expand):
        EXPANSIONS.place(model, unit, expand)


def _apply(slot: str, module: Any, _: tuple[Tensor, ...], out_NCHW: Tensor) -> Tensor:
    guest = getattr(module, slot)
    return out_NCHW if guest is None else guest(out_NCHW)
