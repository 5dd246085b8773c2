"""Settings as they are typed: the engine names them in backticks, as Python does."""

import re
from functools import cache
from inspect import signature
from typing import get_args

from typer.models import OptionInfo

from .commands import COMMANDS, load

_SETTING = re.compile(r"`([a-z]\w*)`")

# Settings that go by another name than the parameter of the command.
_BY_ANOTHER_NAME = {"layer_rates": "layer_rate", "input_size": "image_size", "augment": "no_augment"}


def as_typed(text: str) -> str:
    """A text in which settings in backticks are options: `round_to` becomes --round-to.

    What is in backticks but no option of any command stays as it is.
    """
    return _SETTING.sub(lambda found: _options().get(found[1], found[0]), text)


@cache
def _options() -> dict[str, str]:
    """Every setting that can be typed -> its option."""
    options = {
        name: str(mark.default)  # of an option in `Annotated`, the first of its names
        for command in COMMANDS
        for name, parameter in signature(load(command)).parameters.items()
        for mark in get_args(parameter.annotation)
        if isinstance(mark, OptionInfo)
    }
    return options | {name: options[typed] for name, typed in _BY_ANOTHER_NAME.items()}
