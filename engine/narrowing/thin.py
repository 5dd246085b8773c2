"""The narrow network itself: cut out of a full one and proven, with what the cut knows of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..graph.channels import ChannelMap
from ..graph.cost import Cost, count
from ..graph.filters import narrowed_layers
from ..graph.residual import View
from ..modules.inputs import Takes
from .narrowing import left_alone, narrow_proven

Choose = Callable[[ChannelMap], frozenset[int]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Thin:
    """A narrow network, proven, and what is known of it.

    Attributes:
        model: in evaluation mode.
        map: the full network's channel map, with everything pinned that turned out to be unremovable.
        removed: the channel ids that left.
        after: what one image costs.
        kept: per layer, the positions of the filters that stay.
        difference: how exactly it was proven, relative.
        notes: what a user should know of it.
        counts: per group, how many channels stay and how many there were, where a selection does not say so.
        folded: BN name -> layer it was folded into.
        facts: what else a report says of it, plain values only.
    """

    model: nn.Module
    map: ChannelMap
    removed: frozenset[int]
    after: Cost
    kept: Mapping[str, list[int]]
    difference: float
    notes: tuple[str, ...] = ()
    counts: Mapping[str, tuple[int, int]] | None = None
    folded: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def cut_proven(seen: View, takes: Takes, choose: Choose) -> Thin:
    """Cut what `choose` picks out of a copy of a network, and prove that it equals the masked one.

    Args:
        seen: the network as pruning sees it.
        takes: what it is called with.
        choose: from a channel map to the ids that leave; asked again whenever something had to be pinned.

    Raises:
        ProofError: the narrow network computes something else than the masked one.
    """
    cut = narrow_proven(seen.model, seen.traced, takes, choose, finish=seen.close)
    return Thin(
        model=cut.model,
        map=cut.map,
        removed=cut.removed,
        after=count(seen.traced.map, cut.removed),
        kept=kept_filters(cut.map, cut.removed),
        difference=cut.difference,
        notes=left_alone(cut.misfits),
    )


def kept_filters(channel_map: ChannelMap, removed: frozenset[int]) -> dict[str, list[int]]:
    """Per convolution, and per linear layer whose units may leave, the positions of the filters that stay."""
    units = {layer.name for layer in narrowed_layers(channel_map) if layer.kind == "linear"}
    layers = (layer for layer in channel_map.layers if layer.kind != "linear" or layer.name in units)
    return {layer.name: channel_map.kept(layer.name, removed).tolist() for layer in layers}
