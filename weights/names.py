"""Tensor names: from other people's styles into ours, and back."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TypeVar

from .errors import NameStyleError
from .name_styles import PLACEHOLDERS, STYLES, NameStyle

T = TypeVar("T")


def detect(keys: Iterable[str]) -> str | None:
    """Return the name of the style that explains every key, or None, as for our own names.

    A uniform `module.` prefix is ignored.
    """
    names = set(without_module(dict.fromkeys(keys)))
    for style in STYLES.values():
        if names.issuperset(style.landmarks) and all(_match(style.theirs, name) for name in names):
            return style.name
    return None


def to_ours(tensors: Mapping[str, T], style: str) -> dict[str, T]:
    """Return the same tensors, in the same order, under our names.

    A uniform `module.` prefix is dropped first. Both templates of a pair have the same placeholders, so no
    two names can become one.

    Raises:
        NameStyleError: no such style, or a name that it does not have.
    """
    known = _style(style)
    return _renamed(tensors, known.theirs, known.ours, f"no name of style '{style}'")


def from_ours(tensors: Mapping[str, T], style: str) -> dict[str, T]:
    """Return the same tensors, in the same order, under a style's names.

    Raises:
        NameStyleError: no such style, or one of our names that it has no counterpart for.
    """
    known = _style(style)
    return _renamed(tensors, known.ours, known.theirs, f"no name that style '{style}' has a counterpart for")


def without_module(tensors: Mapping[str, T]) -> dict[str, T]:
    """Drop the `module.` prefix of DataParallel, where every name has it."""
    prefix = "module."
    if all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _renamed(
    tensors: Mapping[str, T], sources: tuple[str, ...], targets: tuple[str, ...], otherwise: str
) -> dict[str, T]:
    renamed: dict[str, T] = {}
    for key, tensor in without_module(tensors).items():
        found = _match(sources, key)
        if found is None:
            raise NameStyleError(f"{key!r} is {otherwise}; its names are {', '.join(sources)}")
        place, values = found
        renamed[targets[place].format(**values)] = tensor
    return renamed


def _match(templates: tuple[str, ...], key: str) -> tuple[int, dict[str, str]] | None:
    """Which template a name fits and what its placeholders stand for, or None."""
    for place, pattern in enumerate(_patterns(templates)):
        if found := pattern.fullmatch(key):
            return place, found.groupdict()
    return None


@cache
def _patterns(templates: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Templates as regular expressions with a named group per placeholder."""
    groups = {name: f"(?P<{name}>{allowed})" for name, allowed in PLACEHOLDERS.items()}
    literals = (re.escape(template).replace(r"\{", "{").replace(r"\}", "}") for template in templates)
    return tuple(re.compile(literal.format(**groups)) for literal in literals)


def _style(name: str) -> NameStyle:
    if name not in STYLES:
        raise NameStyleError(f"no name style '{name}'; known are {', '.join(STYLES)}")
    return STYLES[name]
