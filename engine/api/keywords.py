"""Keywords that a function does not have: the error names the one that was probably meant."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from ...archs.errors import nearest

P = ParamSpec("P")
R = TypeVar("R")


def named(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which says `did you mean` where Python says `unexpected`."""
    known = list(signature(function).parameters)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"prune.{function.__name__} takes no {name!r}; {nearest(name, known)}")
        return function(*args, **kwargs)

    return checked
