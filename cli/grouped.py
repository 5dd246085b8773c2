"""Between a command, which takes groups of options, and Typer, which wants every option as a parameter."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from inspect import Parameter, Signature, signature
from typing import Any, TypeGuard, get_args, get_type_hints

from .first_look import look_at_files
from .options.group import After, Group


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command with one parameter for each field of its groups, which calls it with the groups.

    A parameter keeps its name, annotation and default, so Typer, recipes and whoever asks what was typed see
    what they would see if the command had been written so. Groups may be made of groups. The order is that of
    the command and of the fields, but for options that are marked with `After`.
    """
    parameters = list(options_of(command))

    def flat(**values: Any) -> None:
        look_at_files(parameters, values)
        command(**_in_groups(command, values))

    flat.__name__, flat.__doc__, flat.__module__ = command.__name__, command.__doc__, command.__module__
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    flat.__signature__ = Signature(_in_place(parameters))  # pyright: ignore[reportFunctionMemberAccess]
    return flat


def options_of(taker: Callable[..., Any]) -> Iterator[Parameter]:
    """What a command or a group takes, option by option."""
    hints = get_type_hints(taker, include_extras=True)
    for field in fields(taker) if _is_group(taker) else ():
        if "annotated" in field.metadata:  # see `setting`
            hints[field.name] = field.metadata["annotated"](taker, field.name, hints[field.name])
    for name, parameter in signature(taker).parameters.items():
        if _is_group(hints[name]):
            yield from options_of(hints[name])
        else:
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])


def _in_groups(taker: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command or a group, by the value of every option."""
    hints = get_type_hints(taker, include_extras=True)
    return {
        name: hints[name](**_in_groups(hints[name], values)) if _is_group(hints[name]) else values[name]
        for name in signature(taker).parameters
    }


def _is_group(hint: Any) -> TypeGuard[type[Group]]:
    return isinstance(hint, type) and issubclass(hint, Group)


def _in_place(parameters: list[Parameter]) -> list[Parameter]:
    """The parameters in the order that the help has them in."""
    placed = list(parameters)
    for parameter in parameters:
        marks = [mark for mark in get_args(parameter.annotation) if isinstance(mark, After)]
        ahead = [other for other in placed for mark in marks if other.name in mark.names]
        if ahead:
            placed.remove(parameter)
            placed.insert(placed.index(ahead[-1]) + 1, parameter)
    return placed
