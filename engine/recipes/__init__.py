"""Published rows as records: a file per paper, each a list of recipes. Listing them costs no torch."""

import importlib
from fnmatch import fnmatchcase
from functools import cache

from ...archs.errors import nearest
from ..errors import RecipeError
from .recipe import Recipe

__all__ = ["PAPERS", "Recipe", "get", "matching", "names"]

PAPERS = ("hrank", "hrankplus", "fpgm", "resrep", "filtersketch")


@cache
def _known() -> dict[str, Recipe]:
    """Every recipe by name, in the order of the papers and of their tables."""
    recipes = [
        recipe for paper in PAPERS for recipe in importlib.import_module(f".{paper}", __package__).RECIPES
    ]
    known = {recipe.name: recipe for recipe in recipes}
    if len(known) < len(recipes):
        twice = next(recipe.name for recipe in recipes if known[recipe.name] is not recipe)
        raise RecipeError(f"two recipes are called '{twice}'")
    return known


def names() -> tuple[str, ...]:
    """The names of all recipes."""
    return tuple(_known())


def get(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        RecipeError: there is none; the message offers the nearest.
    """
    known = _known()
    if name not in known:
        hint = nearest(name, known, otherwise="prune recipes lists them")
        raise RecipeError(f"no recipe '{name}'; {hint}")
    return known[name]


def matching(glob: str) -> tuple[Recipe, ...]:
    """The recipes whose names a glob matches: `fpgm/*`.

    Raises:
        RecipeError: none does.
    """
    found = tuple(recipe for name, recipe in _known().items() if fnmatchcase(name, glob))
    return found or (get(glob),)
