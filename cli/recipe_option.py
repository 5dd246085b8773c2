"""--recipe: a published row's settings become the command's defaults, so whatever is typed wins."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .spelling import typed

if TYPE_CHECKING:
    from ..engine.graph.cost import Cost
    from ..engine.network.network import Network
    from ..engine.recipes import Recipe
    from ..engine.selection.allocation import Allocation
    from .show import Out

_KEY = "prune.recipe"
_WAYS = ("compress_rate", "keep_rate", "rate", "layer_rate", "flops", "params", "deps", "plan")
_FPGM = ("rate_norm", "rate_dist")

# What the recipe says -> the options that say it otherwise, and so take its place when they are typed.
_GIVES_WAY_TO = {
    **dict.fromkeys(_WAYS, (*_WAYS, *_FPGM)),
    **dict.fromkeys(_FPGM, _WAYS),
    "criterion": ("scores",),
    "scratch": ("file",),
    "milestones": ("lr_schedule",),
    "gamma": ("lr_schedule",),
}


def take_recipe(context: typer.Context, name: str | None) -> str | None:
    """Set the command's defaults to those of the recipe that is named; called before other options are read.

    With `--residual`, the variant of the recipe for that mode is done; with `--epochs`, milestones keep their
    places in the training.

    Raises:
        RecipeError: there is no such recipe, or it has nothing to say to this command.
    """
    if name is None or context.resilient_parsing:
        return name
    from ..engine import recipes

    recipe = recipes.get(name)
    defaults: dict[str, Callable[[], Any]] = {}
    for residual in (None, *(str(v.specification.get("residual")) for v in recipe.variants)):
        options = recipe.options_of(context.info_name or "", residual)
        defaults |= {option: partial(_default, context, recipe, option) for option in options}
    context.default_map = {**(context.default_map or {}), **defaults}
    context.meta[_KEY] = recipe
    return recipe.name


def _default(context: typer.Context, recipe: "Recipe", name: str) -> Any:
    """What the recipe says for one option; None for nothing. Whatever was typed has been read by then."""
    said = typed(context)
    if any(other in said for other in _GIVES_WAY_TO.get(name, ())):
        return None
    options = recipe.options_of(context.info_name or "", context.params.get("residual"))
    value = options.get(name)
    if name in ("lr_schedule", "milestones") and "milestones" in options and "epochs" in said:
        planned, wanted = int(str(options["epochs"])), context.params["epochs"]
        scaled = _in_proportion(str(options["milestones"]), planned, wanted)
        return scaled if name == "milestones" or not scaled else value
    return value


def _in_proportion(milestones: str, planned: int, epochs: int) -> str | None:
    """Milestones of a training of `planned` epochs for one of `epochs`; None where it has no room for any."""
    scaled = {round(int(milestone) * epochs / planned) for milestone in milestones.split(",")}
    return ",".join(str(milestone) for milestone in sorted(scaled) if 0 < milestone < epochs) or None


def chosen(context: typer.Context) -> "Recipe | None":
    """The recipe that was asked for, if one was."""
    return context.meta.get(_KEY)


def check_recipe(context: typer.Context, file: Path | None, arch: str | None) -> None:
    """Refuse a network that the recipe is not for, before anything else looks at it.

    Args:
        file: the weight file that was named; one that does not say its arch is taken for the recipe's.
        arch: the one that was named, or the recipe's.

    Raises:
        RecipeError: names both archs.
        ArchError, WeightsError: there is no such arch, or the file cannot be read.
    """
    recipe = chosen(context)
    if recipe is None:
        return
    from ..archs import registry
    from ..engine.recipes.check import check_arch
    from ..weights import formats

    if arch is not None:
        check_arch(recipe, registry.get(arch).name)
    stored = formats.read_any(file).meta.get("arch") if file is not None else None
    if isinstance(stored, str):
        check_arch(recipe, stored)


def hold_against_recipe(
    context: typer.Context, show: "Out", network: "Network", allocation: "Allocation", cost: "Cost"
) -> None:
    """Say whether the narrow network is the one that the recipe records; before it is written.

    Raises:
        RecipeError: it should be, and is not.
    """
    recipe = chosen(context)
    if recipe is None:
        return
    from ..engine.recipes.check import check_narrow

    show.note(check_narrow(recipe, network, allocation, cost))
