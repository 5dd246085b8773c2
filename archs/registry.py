"""Networks by name: the built-in ones, torchvision's and the user's own."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from functools import cache

from .arch import Arch, Build
from .errors import ArchError, UnknownArch, one_of
from .from_module import module_arch

__all__ = ["Arch", "ArchError", "UnknownArch", "get", "names", "register"]

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
    return UnknownArch(one_of("arch", name, _built_in(), otherwise=known))


def _by_number(name: str) -> list[str]:
    return [part.rjust(4, "0") if part.isdigit() else part for part in re.split(r"(\d+)", name)]
