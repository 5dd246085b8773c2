"""Errors of this package: each message names the thing, its value, what was allowed and the next step."""

from collections.abc import Collection
from difflib import get_close_matches


class ArchError(Exception):
    """A network that cannot be built as asked."""


class UnknownArch(ArchError):
    """No network goes by this name."""


def nearest(wrong: str, known: Collection[str], otherwise: str, prefix: str = "") -> str:
    """End a message about a wrong name: with the nearest known one, prefixed, or else with `otherwise`."""
    near = get_close_matches(wrong, known, n=1)
    return f"did you mean {prefix + near[0]!r}?" if near else otherwise
