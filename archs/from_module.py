"""The user's own networks: `package.module:factory`."""

import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import Any

from torch import nn

from .arch import Arch
from .errors import ArchError, UnknownArch, nearest


def module_arch(module_name: str, factory_name: str) -> Arch:
    """Describe the network that `factory_name` in `module_name` makes; imports the module, builds nothing.

    The factory gets `num_classes=` if it takes it, and nothing otherwise.

    Raises:
        UnknownArch: there is no such module, or nothing of that name in it.
        ArchError: the module cannot be imported, or what is named cannot be called.
    """
    name = f"{module_name}:{factory_name}"
    module = _import(module_name)
    factory = getattr(module, factory_name, None)
    if factory is None:
        near = nearest(factory_name, dir(module), otherwise="name a function or class that makes a network")
        raise UnknownArch(f"module {module_name!r} has no {factory_name!r}; {near}")
    if not callable(factory):
        raise ArchError(
            f"{name} is of type {type(factory).__name__}; name a function or class that makes a network"
        )
    parameter = _num_classes_parameter(factory)

    def build(num_classes: int) -> nn.Module:
        try:
            model = factory(num_classes=num_classes) if parameter and num_classes else factory()
        except Exception as error:
            raise ArchError(f"{name} raised {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            raise ArchError(f"{name} returned {type(model).__name__}; a torch.nn.Module is needed")
        return model

    default = parameter.default if parameter else 0
    classes = default if isinstance(default, int) else None
    return Arch(name, build, classes, None, source=f"{module.__file__}", classifies=None)


def _import(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise UnknownArch(
                f"no module {missing!r} in {os.getcwd()} or among the installed packages"
            ) from None
        raise ArchError(f"importing {name!r} failed: {type(error).__name__}: {error}") from error


def _num_classes_parameter(factory: Any) -> inspect.Parameter | None:
    """The parameter `num_classes` lands in: its own, or a catch-all."""
    parameters = inspect.signature(factory).parameters
    catch_all = (p for p in parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD)
    return parameters.get("num_classes") or next(catch_all, None)
