"""Dataclasses as plain JSON values, and back: settings as a run folder keeps them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A dataclass and all in it as JSON has it; paths become absolute: a run may be resumed elsewhere."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value.resolve()) if isinstance(value, Path) else value


def restored(kind: type[T], stored: Mapping[str, Any]) -> T:
    """The dataclass that `plain` was given; what is not stored gets its default.

    Raises:
        TypeError: a field is missing, or there is none of that name.
    """
    hints = get_type_hints(kind)
    unknown = next((name for name in stored if name not in hints), None)
    if unknown is not None:
        raise TypeError(f"there is no setting {unknown!r}")
    return kind(**{name: _restored(hints[name], value) for name, value in stored.items()})


def own(kind: type[T], stored: Mapping[str, Any]) -> T:
    """A dataclass of those settings, among many, that are its fields; see `restored`."""
    names = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return restored(kind, {name: value for name, value in stored.items() if name in names})


def _restored(hint: Any, value: Any) -> Any:
    """One value, of the type that a field's annotation says."""
    if value is None:
        return None
    if get_origin(hint) in (Union, UnionType):
        hint = next(arm for arm in get_args(hint) if arm is not NoneType)
    if is_dataclass(hint):
        return restored(hint, value)  # pyright: ignore[reportArgumentType]
    if get_origin(hint) is tuple:
        return tuple(_restored(get_args(hint)[0], item) for item in value)
    return Path(value) if hint is Path else value
