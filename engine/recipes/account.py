"""The account of a recipe: what was published, what its program counts, what the network truly costs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import torch
from torch import Tensor

from ...archs import registry
from .. import allocations
from ..allocations.norm_distance import NormDistance
from ..graph.channels import ChannelMap
from ..graph.cost import Cost, count
from ..graph.filters import scored_layers
from ..graph.residual import view
from ..graph.trace import Trace, trace
from ..modules.blank import without_initialisation
from ..narrowing.pruning import apart, wants_apart
from ..network.fresh import new_network
from ..network.network import Network
from ..selection.allocation import Allocation, Prunable
from ..selection.selection import Selection, equal_scores
from .counts import COUNTS, Count, Narrowed, full
from .printed import prints_amount, prints_drop
from .recipe import Recipe, Variant


@dataclass(frozen=True)
class Reading:
    """One variant, by the paper's count and truly; neither where the paper does not say its widths."""

    variant: Variant
    paper: Count | None
    cost: Cost | None

    @property
    def as_recorded(self) -> bool:
        """Is the true cost the one that the record states?"""
        return self.cost is None or (self.cost.macs, self.cost.params) == (
            self.variant.macs,
            self.variant.params,
        )


@dataclass(frozen=True)
class Account:
    """A recipe, counted.

    Attributes:
        paper: the full network by the paper's count.
        drop_from: what the paper's percentages are of; mostly the same.
        cost: the true cost of the full network.
        readings: one per variant.
        printed: whether the paper's count would be printed as it was, for each of `flops`, `flops_drop`,
            `params` and `params_drop`; None where nothing is printed or nothing can be counted.
    """

    recipe: Recipe
    paper: Count
    drop_from: Count
    cost: Cost
    readings: tuple[Reading, ...]
    printed: Mapping[str, bool | None]

    @property
    def counted(self) -> Reading:
        """The variant that the printed numbers are of."""
        return next(r for r in self.readings if r.variant is self.recipe.counted_variant)


def accounts(recipes: Iterable[Recipe]) -> Iterator[Account]:
    """Count recipes one by one; a network is traced once per way of seeing it, an allocation applied once."""

    network = cache(_blank)

    @cache
    def traced(arch: str) -> Trace:
        return trace(network(arch).model, network(arch).takes)

    @cache
    def scattered(arch: str) -> Trace:
        return view(network(arch).model, traced(arch), network(arch).takes, "scatter").traced

    @cache
    def streams_apart(arch: str) -> Trace:
        return trace(apart(network(arch)).model, network(arch).takes)

    def seen(arch: str, allocation: Allocation) -> Trace:
        if allocation.residual == "scatter":
            return scattered(arch)
        return (streams_apart if wants_apart(network(arch), allocation, traced(arch)) else traced)(arch)

    @cache
    def leaving(arch: str, allocation: Allocation) -> Selection:
        return _select(arch, allocation, seen(arch, allocation).map)

    def reading(recipe: Recipe, variant: Variant) -> Reading:
        if variant.macs is None:
            return Reading(variant, None, None)
        allocation = variant_allocation(variant)
        shown = seen(recipe.arch, allocation)
        selection = leaving(recipe.arch, allocation)
        paper = COUNTS[recipe.counted_as](Narrowed(shown, selection, _share(allocation)))
        return Reading(variant, paper, count(shown.map, selection.removed))

    for recipe in recipes:
        whole = full(traced(recipe.arch))
        paper = COUNTS[recipe.counted_as](whole)
        drop_from = COUNTS[recipe.drop_from](whole) if recipe.drop_from else paper
        readings = tuple(reading(recipe, variant) for variant in recipe.variants)
        counted = next(r.paper for r in readings if r.variant is recipe.counted_variant)
        printed = _printed(recipe, counted, drop_from)
        yield Account(recipe, paper, drop_from, count(whole.traced.map), readings, printed)


def variant_allocation(variant: Variant) -> Allocation:
    """What leaves in a variant, as the engine takes it."""
    return allocations.required(variant.specification)


def _blank(arch: str) -> Network:
    """A network whose weights nobody will look at."""
    with without_initialisation():
        return new_network(arch)


def _select(arch: str, allocation: Allocation, channel_map: ChannelMap) -> Selection:
    """What leaves, whatever the weights: how many does not depend on which."""
    known = registry.get(arch)
    network = Prunable(
        map=channel_map,
        weights=_small_weights(channel_map),
        conv_order=known.conv_order,
        block_of=known.block_of,
    )
    return allocation.select(network, equal_scores(channel_map))


def _small_weights(channel_map: ChannelMap) -> dict[str, Tensor]:
    """One number per filter: distances between filters cost time, and choose what is not looked at here."""
    return {layer.weight: torch.zeros(layer.shape[0], 1, 1, 1) for layer in scored_layers(channel_map)}


def _share(allocation: Allocation) -> Decimal:
    """What FPGM's two rates leave of a layer, exactly as they are written; all of it where there are none."""
    norm, distance = allocation.shares if isinstance(allocation, NormDistance) else (1.0, 0.0)
    return Decimal(str(norm)) - Decimal(str(distance))


def _printed(recipe: Recipe, after: Count | None, before: Count) -> dict[str, bool | None]:
    published = recipe.published
    if after is None:
        return dict.fromkeys(("flops", "flops_drop", "params", "params_drop"))
    flops = _as_printed(after.flops, before.flops, published.flops, published.flops_drop)
    params = _as_printed(after.params, before.params, published.params, published.params_drop)
    return dict(zip(("flops", "flops_drop", "params", "params_drop"), (*flops, *params), strict=True))


def _as_printed(
    after: int | None, before: int | None, amount: str, drop: str
) -> tuple[bool | None, bool | None]:
    """Whether an amount and its drop would be printed so; None where they are not printed."""
    if after is None or before is None:
        return None, None
    return (
        prints_amount(after, amount) if amount else None,
        prints_drop(after, before, drop, amount) if drop else None,
    )
