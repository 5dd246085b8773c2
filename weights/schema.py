"""What may stand in a JSON file: kinds of values, put together; and errors that name the field.

A kind is a function of a value and of its place, which raises `WrongValue` where the value is of another.
"""

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[Any, str], None]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # tabs and line ends are none
_LONGEST_SHOWN = 60  # characters
_REPR = reprlib.Repr()
_REPR.maxlevel = 2


class WrongValue(Exception):
    """A value of another kind than its place asks for; names the place, the value and what was allowed."""


def anything(value: Any, where: str) -> None:
    """Whatever JSON can hold."""


def text(value: Any, where: str) -> None:
    """A text."""
    _require(isinstance(value, str), value, where, "a text")


def without_controls(value: Any, where: str) -> None:
    """Whatever JSON can hold, but no text in it, names of keys among them, has a control character."""
    left = [(value, where)]  # may be nested deeper than Python calls functions
    while left:
        value, where = left.pop()
        if isinstance(value, str):
            _require(not _CONTROL.search(value), value, where, "a text without control characters")
        elif isinstance(value, list):
            left += [(item, f"{where}[{place}]") for place, item in enumerate(value)]
        elif isinstance(value, dict):
            for name, item in value.items():
                left += [(name, f"a key of {where or 'it'}"), (item, f"{where}.{shown(name)}".lstrip("."))]


def tamed(value: Any) -> Any:
    """The same, with control characters in texts and names of keys as text: `\\x1b` for an escape."""
    match value:
        case str():
            return _CONTROL.sub(lambda found: _escaped(found[0]), value)
        case list() | tuple():
            return [tamed(item) for item in value]
        case dict():
            return {tamed(name): tamed(item) for name, item in value.items()}
        case _:
            return value


def flag(value: Any, where: str) -> None:
    """True or false."""
    _require(isinstance(value, bool), value, where, "true or false")


def number(value: Any, where: str) -> None:
    """A finite number."""
    finite = type(value) is float and math.isfinite(value)
    _require(finite or (type(value) is int and abs(value) < 2**63), value, where, "a finite number")


def above_zero(value: Any, where: str) -> None:
    """A finite number above 0."""
    number(value, where)
    _require(value > 0, value, where, "a number above 0")


def integer(least: int, most: int) -> Kind:
    """A whole number from `least` to `most`."""

    def check(value: Any, where: str) -> None:
        fits = type(value) is int and least <= value <= most
        _require(fits, value, where, f"a whole number from {least} to {most}")

    return check


def maybe(kind: Kind) -> Kind:
    """A value of that kind, or null."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            kind(value, where)

    return check


def listed(kind: Kind) -> Kind:
    """A list of values of one kind."""

    def check(value: Any, where: str) -> None:
        _require(isinstance(value, list), value, where, "a list")
        for place, item in enumerate(value):
            kind(item, f"{where}[{place}]")

    return check


def mapping(kind: Kind) -> Kind:
    """An object with any keys, all of whose values are of one kind."""

    def check(value: Any, where: str) -> None:
        _require(isinstance(value, Mapping), value, where, "an object")
        for name, item in value.items():
            text(name, f"a key of {where}")
            kind(item, f"{where}.{shown(name)}")

    return check


def record(required: Mapping[str, Kind], optional: Mapping[str, Kind], *, others: bool = False) -> Kind:
    """An object with these keys; with `others`, also with more, of any kind."""
    known = {**required, **optional}

    def check(value: Any, where: str) -> None:
        _require(isinstance(value, Mapping), value, where, "an object")
        inside = f"{where}." if where else ""
        for name in required:
            if name not in value:
                raise WrongValue(f"'{inside}{name}' is missing")
        for name, item in value.items():
            if name in known:
                known[name](item, f"{inside}{name}")
            elif not others:
                raise WrongValue(f"there is a key {shown(name)!r}; allowed are {', '.join(known)}")

    return check


def shown(value: Any) -> str:
    """A value for a message: on one line, control characters made visible, and cut where it is long."""
    words = value if isinstance(value, str) else _short(value)
    cut = words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}..."
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in cut)


def _escaped(letter: str) -> str:
    return repr(letter)[1:-1]


def _short(value: Any) -> str:
    """A value's beginning: what comes out of a pickle may hold itself, or one list a million times."""
    try:
        return repr(value) if isinstance(value, str) else _REPR.repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"


def _require(fits: bool, value: Any, where: str, allowed: str) -> None:
    if not fits:
        said = shown(_short(value))
        raise WrongValue(f"{where or 'the whole'} is {said}; it must be {allowed}")
