"""Other forward methods for some modules of a network, for a while."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def other_forwards(model: nn.Module, forwards: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """While it lasts, a call of one of these modules, given by their paths, calls a function instead."""
    modules = {path: model.get_submodule(path) for path in forwards}
    before = {path: vars(module).get("forward") for path, module in modules.items()}
    for path, module in modules.items():
        module.forward = forwards[path]
    try:
        yield
    finally:
        for path, module in modules.items():
            del module.forward
            own = before[path]
            if own is not None:
                module.forward = own
