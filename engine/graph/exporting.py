"""The circumstances in which networks are exported: what torch.export is spared, and what its users are."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.fx._lazy_graph_module import _use_lazy_graph_module
from torch.fx.experimental import proxy_tensor, symbolic_shapes

from ..modules.attention import in_plain_sight

SHAPES, UNKNOWN_NUMBERS = "_extract_tensor_metadata", "_free_unbacked_symbols_with_path"  # torch's names


@contextmanager
def followed_with_ease(model: nn.Module) -> Iterator[None]:
    """While this lasts, `model` is exported as it is followed: by its weights alone, and without a word."""
    # Of the graph alone something is read, and torch.export would write and compile its code six times.
    unwritten = _use_lazy_graph_module(True)
    with (
        in_plain_sight(model),
        _autocast_passed_by(),
        _books_kept_briefly(),
        _silence(),
        unwritten,
        torch.no_grad(),
    ):
        yield


@contextmanager
def _books_kept_briefly() -> Iterator[None]:
    """While this lasts, torch.export writes down a tensor's shape once, and not as an operation of a network.

    It follows each of the some ten questions that its own books ask of every tensor as it follows what a
    network computes; it keeps the answers a second time, for nobody here; and it looks everywhere for
    numbers that are only known once a network runs, where there are none. That is a third of the time that
    an export takes. Where a version of it has other names for this, all stays as it is.
    """
    books = ((proxy_tensor, "track_tensor_tree"), (proxy_tensor, SHAPES), (symbolic_shapes, UNKNOWN_NUMBERS))
    if not all(hasattr(module, name) for module, name in books):
        yield
        return
    track, search = proxy_tensor.track_tensor_tree, getattr(symbolic_shapes, UNKNOWN_NUMBERS)

    def unfollowed(*args: Any, **options: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return track(*args, **options)

    def searched(*args: Any, **options: Any) -> Any:
        return {} if options.get("pending") == set() else search(*args, **options)

    with (
        patch.object(proxy_tensor, "track_tensor_tree", unfollowed),
        patch.object(proxy_tensor, SHAPES, lambda *_, **__: None),
        patch.object(symbolic_shapes, UNKNOWN_NUMBERS, searched),
    ):
        yield


@contextmanager
def _autocast_passed_by() -> Iterator[None]:
    """While this lasts, `torch.autocast` does nothing: torch.export would make a graph of its own inside it.

    Which channels there are does not depend on number formats.
    """

    def enter(self: Any) -> Any:
        return self

    def leave(self: Any, *_: object) -> None:
        return None

    autocast = torch.amp.autocast_mode.autocast
    with patch.object(autocast, "__enter__", enter), patch.object(autocast, "__exit__", leave):
        yield


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back what torch.export logs, prints and warns of: what matters comes as an exception."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
