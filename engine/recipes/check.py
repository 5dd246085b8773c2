"""Holding what came out against the recipe it was made by."""

from ...archs import registry
from ..errors import RecipeError
from ..graph.cost import Cost
from ..network.network import Network
from ..selection.allocation import Allocation
from .account import variant_allocation
from .recipe import Recipe


def check_arch(recipe: Recipe, arch: str) -> None:
    """Refuse a network that the recipe is not for.

    Raises:
        RecipeError: names both archs.
    """
    if recipe.arch != arch:
        raise RecipeError(
            f"recipe '{recipe.name}' is for arch '{recipe.arch}', this network is '{arch}'; "
            "prune recipes lists others"
        )


def check_narrow(recipe: Recipe, network: Network, allocation: Allocation, cost: Cost) -> str:
    """Hold a narrow network against its recipe.

    Args:
        network: the narrow one.
        allocation: what it was asked to lose.
        cost: what it truly costs.

    Returns:
        What was found, in one line: that it is as recorded, or why the record says nothing about it.

    Raises:
        RecipeError: another arch, or the recipe's own specification left another network than it should.
    """
    check_arch(recipe, network.arch)
    arch = registry.get(recipe.arch)
    if (network.num_classes, tuple(network.input_size)) != (arch.num_classes, arch.input_size):
        size = "x".join(map(str, arch.input_size or ()))
        return f"not held against {recipe.name}, which is for {arch.num_classes} classes and {size} images"
    own = (v for v in recipe.variants if v.macs is not None and variant_allocation(v) == allocation)
    variant = next(own, None)
    if variant is None:
        return f"not held against {recipe.name}: what leaves is not what it says"
    if (cost.macs, cost.params) != (variant.macs, variant.params):
        raise RecipeError(
            f"recipe '{recipe.name}' ({variant.name}) leaves {variant.macs:,} MACs and {variant.params:,} "
            f"params, but {cost.macs:,} and {cost.params:,} stay; start from a network that nothing has left"
        )
    return f"as {recipe.name} says ({variant.name}): {cost.macs:,} MACs, {cost.params:,} params"
