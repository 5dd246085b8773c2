"""Between a command, which takes groups of options, and Typer, which wants every option as a parameter."""

from collections.abc import Callable, Iterator
from inspect import Parameter, Signature, signature
from typing import Any, get_args, get_type_hints

from .options.group import After, Group


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command with one parameter for each field of its groups, which calls it with the groups.

    A parameter keeps its name, annotation and default, so Typer, recipes and whoever asks what was typed see
    what they would see if the command had been written so. The order is that of the command and of the
    fields, but for options that are marked with `After`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {n: hint for n, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Group)}
    members = {name: list(_fields(group)) for name, group in groups.items()}
    given = signature(command).parameters
    parameters = [
        member
        for name, parameter in given.items()
        for member in members.get(name, [parameter.replace(annotation=hints[name])])
    ]

    def flat(**values: Any) -> None:
        fields = {name: {member.name: values.pop(member.name) for member in members[name]} for name in groups}
        command(**values, **{name: group(**fields[name]) for name, group in groups.items()})

    flat.__name__, flat.__doc__, flat.__module__ = command.__name__, command.__doc__, command.__module__
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    flat.__signature__ = Signature(_in_place(parameters))  # pyright: ignore[reportFunctionMemberAccess]
    return flat


def _fields(group: type[Group]) -> Iterator[Parameter]:
    """A group's fields as parameters."""
    hints = get_type_hints(group, include_extras=True)
    for name, parameter in signature(group).parameters.items():
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=parameter.default, annotation=hints[name])


def _in_place(parameters: list[Parameter]) -> list[Parameter]:
    """The parameters, all by keyword, in the order that the help has them in."""
    placed = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    for parameter in list(placed):
        marks = [mark for mark in get_args(parameter.annotation) if isinstance(mark, After)]
        ahead = [other for other in placed for mark in marks if other.name in mark.names]
        if ahead:
            placed.remove(parameter)
            placed.insert(placed.index(ahead[-1]) + 1, parameter)
    return placed
