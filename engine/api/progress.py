"""How far a call is, for those who ask: the engine says it, and whoever sets `draw` shows it."""

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from ..events import Event, unwatched

T = TypeVar("T")

draw: Callable[[Iterable[Event]], Any] | None = None


def seen_through(work: Generator[Event, None, T], progress: bool) -> T:
    """Let work go through; returns what it comes to."""
    return draw(work) if progress and draw is not None else unwatched(work)
