"""Dataclasses as plain JSON values, and back: settings as a run folder keeps them, or once kept them."""

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ...weights import schema

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A dataclass and all in it as JSON has it; paths become absolute: a run may be resumed elsewhere."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return os.path.realpath(value) if isinstance(value, Path) else value


def restored(kind: type[T], stored: Mapping[str, Any]) -> T:
    """The dataclass that `plain` was given; what is not stored gets its default.

    Raises:
        TypeError: a field is missing, there is none of that name, or a value is of another type.
    """
    if not isinstance(stored, Mapping):
        raise TypeError(f"{schema.shown(stored)} are no settings")
    hints = get_type_hints(kind)
    unknown = next((name for name in stored if name not in hints), None)
    if unknown is not None:
        raise TypeError(f"there is no setting {unknown!r}")
    return kind(**{name: _restored(hints[name], value, name) for name, value in stored.items()})


def own(kind: type[T], stored: Mapping[str, Any]) -> T:
    """A dataclass of those settings, among many, that are its fields; see `restored`."""
    names = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return restored(kind, {name: value for name, value in stored.items() if name in names})


def in_todays_form(known: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's `config.json` says, in the form in which it is written today, which is one for all jobs.

    ResRep's runs kept their target and how it is reached in one `penalty`, and had no specification; runs
    that prune said nothing of teachers, and of what weights become no more than their method does.
    """
    unsaid = {"like": None, "teacher": None, "num_classes": None}
    today = {**unsaid, **known}
    if "penalty" in known:
        penalty = dict(known["penalty"])
        flops = penalty.pop("flops_target")
        wanted = {"flops": flops, "residual": known["residual"], "skip": known["skip"]}
        today |= {"schedule": "gradient-resetting", "specification": wanted, **penalty}
    if "method" in today:
        today.setdefault("transfer", {"select": "slice", "resrep": "fold"}.get(today["method"]))
    return today


def _restored(hint: Any, value: Any, name: str) -> Any:
    """One value, of the type that a field's annotation says.

    Raises:
        TypeError: it is of another.
    """
    if get_origin(hint) in (Union, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        hint = next(arm for arm in get_args(hint) if arm is not NoneType)
    if is_dataclass(hint):
        if isinstance(value, Mapping):
            return restored(hint, value)  # pyright: ignore[reportArgumentType]
    elif get_origin(hint) is tuple:
        if isinstance(value, list):
            return tuple(_restored(get_args(hint)[0], item, name) for item in value)
    elif get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
    elif hint is Path:
        if isinstance(value, str):
            return Path(value)
    elif (hint is float and type(value) is int and abs(value) < 2**63) or type(value) is hint or hint is Any:
        return value
    said, wanted = schema.shown(value), getattr(hint, "__name__", hint)
    raise TypeError(f"{name} is {said}; it must be {'a path' if hint is Path else f'of type {wanted}'}")
