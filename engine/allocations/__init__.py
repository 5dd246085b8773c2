"""Allocations: how many channels leave each layer, one file per way of saying so, found by file name.

An allocation is a frozen dataclass, derived from `engine.selection.allocation.Allocation`; its file holds no
other. Whatever says what leaves, the command line, Python keywords or a run's `config.json`, is a flat
dictionary of settings: `allocation_of` finds the one allocation that they ask for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from ...archs.errors import nearest
from .. import parts
from ..errors import AllocationError

if TYPE_CHECKING:
    from ..selection.allocation import Allocation

Settings = Mapping[str, Any]


def names() -> list[str]:
    """The file of every allocation, in alphabetical order; costs no torch."""
    return parts.names(__name__)


@cache
def get(name: str) -> "type[Allocation]":
    """The allocation in the file called `name`.

    Raises:
        AllocationError: there is no such file.
    """
    from ..selection.allocation import Allocation  # here: `names` costs no torch

    module = parts.module_of(__name__, name, "allocation", AllocationError)
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Allocation) and value.__module__ == module.__name__
    )
    return found


def settings() -> dict[str, Any]:
    """Every setting of every allocation -> what it is when nobody says it."""
    from ..selection.allocation import default_of

    return {setting.name: default_of(setting) for name in names() for setting in fields(get(name))}


def allocation_of(given: Settings) -> "Allocation | None":
    """The allocation that settings ask for.

    Args:
        given: setting -> value, in the order in which they were given. None, nothing in a list and a
            setting's default count as not given.

    Returns:
        None where nothing says how much is to leave; limits alone do not.

    Raises:
        AllocationError: a setting that there is not, settings that exclude each other or have no effect, or
            values that cannot be read or are out of range.
    """
    said = _said(given)
    asked = _asked(said)
    if len(asked) > 1:
        raise AllocationError(f"{' and '.join(asked)} exclude each other; give one of {offers()}")
    if not asked:
        return None
    ((way, allocation),) = asked.items()
    heard = {setting.name for setting in fields(allocation)}
    for name in said:
        if name not in heard:
            raise AllocationError(f"`{name}` has no effect with {way}; leave out one of them")
    return allocation.read(said)


def required(given: Settings) -> "Allocation":
    """The allocation that settings ask for, where they must ask for one; see `allocation_of`.

    Raises:
        AllocationError: as there, and where nothing says how much is to leave.
    """
    allocation = allocation_of(given)
    if allocation is None:
        raise AllocationError(f"nothing says how much is to leave; give one of {offers()}")
    return allocation


def stored(allocation: "Allocation") -> dict[str, Any]:
    """Every setting there is, plain JSON values only: those of other allocations are at their defaults.

    `allocation_of` makes the allocation of it again.

    Raises:
        AllocationError: a plan that cannot be read: it is kept with all it says.
    """
    from ..selection.allocation import listed

    return {**{name: listed(value) for name, value in settings().items()}, **allocation.plain()}


def offers() -> str:
    """All ways of saying what leaves, for messages; those most wanted come first."""
    known = sorted(map(get, names()), key=lambda allocation: allocation.place)
    return ", ".join(offer for allocation in known for offer in allocation.offers())


def _said(given: Settings) -> dict[str, Any]:
    """The settings that differ from their defaults, several values as a tuple.

    Raises:
        AllocationError: there is no such setting.
    """
    known = settings()
    said: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise AllocationError(f"no setting '{name}' says what leaves; {nearest(name, known)}")
        several = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
        plain = tuple(value) if several else value
        if isinstance(plain, str) and known[name] == ():
            plain = (plain,)  # a lone text is the only one of a list
        if plain != () and plain is not None and plain != known[name]:
            said[name] = plain
    return said


def _asked(said: Iterable[str]) -> "dict[str, type[Allocation]]":
    """What settings ask for an allocation, as messages call it -> that allocation."""
    from ..selection.allocation import label

    claims = {
        name: (label(way), allocation)
        for allocation in map(get, names())
        for way in allocation.ways
        for name in way
    }
    return dict(claims[name] for name in said if name in claims)
