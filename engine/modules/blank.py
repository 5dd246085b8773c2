"""Modules whose parameters are about to be loaded, or never looked at, need not be filled first."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def without_initialisation() -> Iterator[None]:
    """Skip the initialisation of parameters; other tensors are made as always."""
    fillers = {
        n: f for n, f in vars(nn.init).items() if n.endswith("_") and not n.startswith("_") and callable(f)
    }

    def skipping(fill: Any) -> Any:
        def skip(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return tensor if isinstance(tensor, nn.Parameter) else fill(tensor, *args, **kwargs)

        return skip

    for name, fill in fillers.items():
        setattr(nn.init, name, skipping(fill))
    try:
        yield
    finally:
        for name, fill in fillers.items():
            setattr(nn.init, name, fill)
