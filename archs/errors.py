"""Errors of this package: each message names the thing, its value, what was allowed and the next step."""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_NAME = 200  # characters that are compared: a name out of a file may be of any length
_NEAR = 0.5  # of what `get_close_matches` calls similarity: an `l3` may have been meant for `l1`


class ArchError(Exception):
    """A network that cannot be built as asked."""


class UnknownArch(ArchError):
    """No network goes by this name."""


def nearest(wrong: str, known: Iterable[str], otherwise: str | None = None, prefix: str = "") -> str:
    """End a message about a wrong name with the known one that was probably meant.

    Args:
        wrong: the name that was given.
        known: those that there are.
        otherwise: the end where no known name is near; without it the nearest is offered, however far it is.
        prefix: goes before the name that is offered.
    """
    near = get_close_matches(
        wrong[:_LONGEST_NAME], list(known), n=1, cutoff=0.0 if otherwise is None else _NEAR
    )
    return f"did you mean {prefix + near[0]!r}?" if near else otherwise or "there are none"


def one_of(what: str, given: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The message about a name that is none of those there are: `no criterion 'l3'; did you mean 'l1'?`.

    Args:
        what: the kind of thing that is named.
        given: the name that was given.
        known: those that there are.
        otherwise: the end where no known name is near; without it, a list of them.
    """
    known = list(known)
    listed = f"choose one of {', '.join(known)}"
    return f"no {what} {given!r}; {nearest(given, known, otherwise or listed)}"
