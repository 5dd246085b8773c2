"""Settings as they are typed: which were, and how the engine's names for them, in backticks, are spelt."""

import re
import sys
from functools import cache
from inspect import signature
from typing import get_args

import typer
from typer.models import OptionInfo

from .commands import COMMANDS, load, module_of

_SETTING = re.compile(r"`([a-z]\w*)`")

# Settings that go by another name than the parameter of the command.
_BY_ANOTHER_NAME = {"layer_rates": "layer_rate", "input_size": "image_size", "augment": "no_augment"}


def typed(context: typer.Context) -> list[str]:
    """The parameters that were typed, in that order but for --recipe, which comes first."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def option(name: str) -> str:
    """A parameter as it is typed."""
    return "FILE" if name == "file" else f"--{name.replace('_', '-')}"


def as_typed(text: str) -> str:
    """A text in which settings in backticks are options: `round_to` becomes --round-to.

    What is in backticks but no option of any command stays as it is.
    """
    return _SETTING.sub(lambda found: _option_of(found[1]) or found[0], text)


@cache
def _option_of(setting: str) -> str | None:
    """The option of a setting, if it can be typed; of commands that are imported already, if they have it."""
    name = _BY_ANOTHER_NAME.get(setting, setting)
    for command in sorted(COMMANDS, key=lambda command: module_of(command) not in sys.modules):
        parameter = signature(load(command)).parameters.get(name)
        marks = get_args(parameter.annotation) if parameter else ()
        for mark in marks:
            if isinstance(mark, OptionInfo):
                return str(mark.default)  # of an option in `Annotated`, the first of its names
    return None
