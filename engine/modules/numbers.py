"""Numbers that a module's code keeps of its own width, as `num_heads`: they follow when heads leave."""

from collections.abc import Mapping

from torch import nn

from ..errors import FitError
from .attention import FUSED, keeps_a_scale

Numbers = Mapping[str, Mapping[str, int]]  # module path -> attribute -> what it is in the narrow network

_SLOT = "_narrow_numbers"  # where a module keeps which of its attributes were changed


def numbers_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """The numbers that are no longer those of the full network."""
    changed = {name: vars(module).get(_SLOT) for name, module in model.named_modules()}
    return {name: dict(numbers) for name, numbers in changed.items() if numbers}


def set_numbers(model: nn.Module, numbers: Numbers) -> None:
    """Change numbers of modules, in place.

    Raises:
        FitError: no such module or number, or one that would grow.
    """
    modules = dict(model.named_modules())
    for path, attributes in numbers.items():
        for attribute, value in attributes.items():
            module = modules.get(path, nn.Module())
            if attribute == FUSED and value == 0 and keeps_a_scale(module):
                setattr(module, FUSED, False)
                continue
            now = whole_numbers(module).get(attribute)
            if now is None or not 1 <= value <= now:
                raise FitError(
                    f"'{path}' has no number '{attribute}' that could be {value} in a narrow network"
                )
            setattr(modules[path], attribute, value)
        vars(modules[path])[_SLOT] = {**vars(modules[path]).get(_SLOT, {}), **attributes}


def whole_numbers(module: nn.Module) -> dict[str, int]:
    """The integers that a module holds, by attribute."""
    return {name: value for name, value in vars(module).items() if type(value) is int}
