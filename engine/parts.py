"""Parts of methods, each a file: found by the file's name, so that a part is there the moment its file is."""

import importlib
import pkgutil
from typing import Any

from ..archs.errors import one_of
from .errors import EngineError


def names(package: str) -> list[str]:
    """What the files of a package are called, as people type it, in alphabetical order; imports none of them.

    Args:
        package: its full name, with a file per part: `layer_by_layer.py` is the part layer-by-layer.
    """
    path = importlib.import_module(package).__path__
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(path))


def module_of(package: str, name: str, kind: str, error: type[EngineError]) -> Any:
    """The module of one part.

    Args:
        package: as `names` takes it.
        name: of the part.
        kind: what its parts are called, for the message.
        error: what is raised.

    Raises:
        EngineError: of the type `error`; there is no such part.
    """
    known = names(package)
    if name not in known:
        raise error(one_of(kind, name, known))
    return importlib.import_module(f".{name.replace('-', '_')}", package)


def class_of(package: str, name: str, kind: str, error: type[EngineError]) -> Any:
    """The class of one part, called as its file is: layer-by-layer is `LayerByLayer`; see `module_of`."""
    module = module_of(package, name, kind, error)
    return getattr(module, "".join(word.capitalize() for word in name.split("-")))


def name_of(part: object) -> str:
    """What the file is called that a part's class comes from."""
    kind = part if isinstance(part, type) else type(part)
    return kind.__module__.rpartition(".")[2].replace("_", "-")
