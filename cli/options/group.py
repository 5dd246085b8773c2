"""What an option is made of, and what a group of them can do."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar

import typer

from ..spelling import option as spelt

SHARE: dict[str, Any] = {"min": 0, "max": 1}


@dataclass(frozen=True)
class Group:
    """Options that configure one thing; `cli.grouped` makes a command's parameters of the fields.

    Where a help text names the default, the field is None unless given, so that a recipe or the engine can
    fill it in.

    Attributes:
        panel: of the help, where all its settings stand that name no other.
    """

    panel: ClassVar[str | None] = None

    def __init_subclass__(cls, panel: str | None = None) -> None:
        cls.panel = panel or cls.panel

    def settings(self) -> dict[str, Any]:
        """What was said, by name; what is left to the engine is not in it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, [])}


class After:
    """Beside an option: its place in the help is behind the last of these in its command."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Weights:
    """Beside an option or argument: weight files, read before the command begins its work.

    What is damaged or hostile is so refused before torch is imported, which takes longer than the reading and
    hundreds of megabytes.
    """


class Scores(Weights):
    """The same, of saved scores: HDF5 whatever the suffix says, or a folder of HRank's."""


def option(panel: str | None, names: str, unit: str | None, text: str, **more: Any) -> Any:
    """An option of one panel of the help, or of none; `names` as they are typed, the main one first."""
    return typer.Option(*names.split(), metavar=unit, help=text, rich_help_panel=panel, **more)


def argument(name: str, text: str) -> Any:
    """A word without a name before it."""
    return typer.Argument(metavar=name, help=text, show_default=False)


def setting(
    unit: str | None,
    text: str,
    *marks: object,
    default: Any = None,
    panel: str | None = None,
    also: str = "",
    **more: Any,
) -> Any:
    """A field that is an option called like it, and `also` by another name; `marks` stand beside it."""

    def annotated(group: type[Group], name: str, hint: Any) -> Any:
        names = f"{spelt(name)} {also}"
        return Annotated[hint, option(panel or group.panel, names, unit, text, **more), *marks]

    return field(default=default, metadata={"annotated": annotated})
