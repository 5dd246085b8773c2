"""What networks do to fill their parameters when they are built: skipped, or caught on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

Fill = Callable[..., Any]


@contextmanager
def intercepted_initialisation(instead: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, `instead(fill, tensor, ...)` is called wherever a `fill` of `nn.init` would be."""
    fills: dict[str, Fill] = {
        name: fill
        for name, fill in vars(nn.init).items()
        if name.endswith("_") and not name.startswith("_") and callable(fill)
    }
    for name, fill in fills.items():
        setattr(nn.init, name, partial(instead, fill))
    try:
        yield
    finally:
        for name, fill in fills.items():
            setattr(nn.init, name, fill)


@contextmanager
def without_initialisation() -> Iterator[None]:
    """Skip the initialisation of parameters, which are about to be loaded, or never looked at.

    Other tensors are made as always.
    """

    def skip(fill: Fill, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        return tensor if isinstance(tensor, nn.Parameter) else fill(tensor, *args, **kwargs)

    with intercepted_initialisation(skip):
        yield
