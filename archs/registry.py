"""Networks by name: the built-in ones, torchvision's and the user's own."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import nn

from .errors import ArchError, UnknownArch, nearest

__all__ = ["Arch", "ArchError", "UnknownArch", "get", "names", "register"]

Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Arch:
    """A network that can be built.

    Attributes:
        name: the name that `get` finds it by, as stored in weight files.
        build: makes the network, freshly initialised, for a number of classes.
        num_classes: the number of classes it was designed for; None when only its author knows.
        input_size: (channels, height, width) it was designed for; None when only its author knows.
        aliases: further names.
        conv_order: the convolutions in the order of ResRep's `deps`, by module name; empty for networks that
            have no such order. The filters of each one are all the channels of its group.
        blocks: the units the network is a chain of, in forward order, the stem first; each by the names of
            its modules. Empty for networks that are plain chains of layers.
        source: where the network comes from.
    """

    name: str
    build: Build
    num_classes: int | None
    input_size: tuple[int, int, int] | None
    aliases: tuple[str, ...] = ()
    source: str = ""
    conv_order: tuple[str, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()

    def block_of(self, layer_name: str) -> int | None:
        """The position in `blocks` of the one a layer is in; None where it is in none, as in the head."""
        for position, modules in enumerate(self.blocks):
            if any(f"{layer_name}.".startswith(f"{module}.") for module in modules):
                return position
        return None


_registered: dict[str, Arch] = {}  # by name and by alias


def register(
    name: str,
    *,
    num_classes: int,
    input_size: tuple[int, int, int],
    aliases: tuple[str, ...] = (),
    conv_order: tuple[str, ...] = (),
    blocks: tuple[tuple[str, ...], ...] = (),
    source: str,
) -> Callable[[Build], Build]:
    """Decorate a function of the number of classes: it becomes the network called `name`.

    Raises:
        ArchError: the name or an alias is taken.
    """

    def add(build: Build) -> Build:
        arch = Arch(name, build, num_classes, input_size, aliases, source, conv_order, blocks)
        taken = [key for key in (name, *aliases) if key in _registered]
        if taken:
            raise ArchError(f"two archs are called {taken[0]!r}: {_registered[taken[0]].name!r} and {name!r}")
        _registered.update(dict.fromkeys((name, *aliases), arch))
        return build

    return add


def names() -> tuple[str, ...]:
    """The names of the built-in networks, sorted, numbers by size, without aliases."""
    return tuple(sorted({arch.name for arch in _built_in().values()}, key=_by_number))


def get(name: str) -> Arch:
    """Find a network by name.

    Args:
        name: a built-in name or alias, `torchvision:NAME`, or `package.module:factory`, which imports the
            module, from the current directory if it is there.

    Raises:
        UnknownArch: there is no such network, module or factory.
        ArchError: torchvision's network does not classify images, or the user's module cannot be imported.
    """
    if name in _built_in():
        return _built_in()[name]
    family, colon, member = name.partition(":")
    if not colon:
        raise _unknown(name)
    if family == "torchvision":
        from .from_torchvision import torchvision_arch

        return torchvision_arch(member)
    from .from_module import module_arch

    return module_arch(family, member)


@cache
def _built_in() -> dict[str, Arch]:
    from . import __path__ as folders

    for module in pkgutil.iter_modules(folders):
        # The modules from_... know networks that live elsewhere; importing torchvision takes a second.
        if not module.name.startswith("from_"):
            importlib.import_module(f".{module.name}", __package__)
    return _registered


def _unknown(name: str) -> UnknownArch:
    from .from_torchvision import torchvision_names

    if name in torchvision_names():
        return UnknownArch(f"no arch {name!r}; did you mean 'torchvision:{name}'?")
    known = f"known are {', '.join(names())}, torchvision:NAME and package.module:factory"
    return UnknownArch(f"no arch {name!r}; {nearest(name, _built_in(), otherwise=known)}")


def _by_number(name: str) -> list[str]:
    return [part.rjust(4, "0") if part.isdigit() else part for part in re.split(r"(\d+)", name)]
