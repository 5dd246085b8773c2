"""One-shot pruning as one call: scores and a specification in, a proven narrow network out."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .allocation.plan import Plan, plan_of
from .allocation.selection import Scores, Selection
from .allocation.specification import Specification
from .channels import ChannelMap
from .cost import Cost, count
from .graph.trace import Trace, trace
from .narrowing import narrow_proven
from .network import Network


@dataclass(frozen=True, eq=False)
class Pruned:
    """A narrow network and how it was arrived at.

    Attributes:
        network: ready to be saved; its history has one step more.
        map: the full network's channel map.
        removed: the channel ids that left.
        residual: how residual streams were treated.
        selection: which channels left, and what the specification had to say about it.
        kept: per convolution, the positions of the filters that stayed.
        before, after: what one image costs.
        difference: between the masked and the narrow network, relative, float64.
        pinned: per layer, why channels of it could not leave.
        misfits: what was pinned because the network's own code did not follow.
    """

    network: Network
    map: ChannelMap
    removed: frozenset[int]
    residual: str
    selection: Selection
    kept: Mapping[str, list[int]]
    before: Cost
    after: Cost
    difference: float
    pinned: Mapping[str, str]
    misfits: tuple[str, ...]

    @property
    def plan(self) -> Plan:
        """What stays, as a plan that can be written, edited and applied again."""
        return plan_of(self.map, self.removed, arch=self.network.arch, residual=self.residual)


def prune_network(
    network: Network,
    specification: Specification,
    scores: Scores,
    *,
    traced: Trace | None = None,
    options: Mapping[str, object] | None = None,
) -> Pruned:
    """Remove what the specification asks for, lowest scores first, and prove the result.

    Args:
        network: left as it is.
        scores: per convolution name, scores_F; may be empty where the specification needs none.
        traced: the network's trace, where it is there already.
        options: for the history, beside the specification.
    Raises:
        AllocationError: the specification cannot be met.
        ProofError: the narrow network would compute something else; nothing is returned.
    """
    specification = specification.for_arch(network.arch)
    traced = traced or trace(network.model, network.input_size)
    weights: Mapping[str, Tensor] = network.model.state_dict()
    selections: list[Selection] = []

    def choose(channel_map: ChannelMap) -> frozenset[int]:
        selections.append(specification.select(channel_map, scores, weights, network.conv_order))
        return selections[-1].removed

    narrowed = narrow_proven(network.model, traced, network.input_size, choose)
    step = {**specification.given(), **(options or {})}
    thin = network.after("prune", step, model=narrowed.model, accuracy=None)
    return Pruned(
        network=thin,
        map=narrowed.map,
        removed=narrowed.removed,
        residual=specification.residual,
        selection=selections[-1],
        kept=kept_filters(narrowed.map, narrowed.removed),
        before=count(traced.map),
        after=count(traced.map, narrowed.removed),
        difference=narrowed.difference,
        pinned=pinned_layers(narrowed.map),
        misfits=narrowed.misfits,
    )


def kept_filters(channel_map: ChannelMap, removed: frozenset[int]) -> dict[str, list[int]]:
    """Per convolution, the positions of the filters that stay."""
    convs = (layer for layer in channel_map.layers if layer.kind != "linear")
    return {layer.name: channel_map.kept(layer.name, removed).tolist() for layer in convs}


def pinned_layers(channel_map: ChannelMap) -> dict[str, str]:
    """Per group with convolutions that cannot lose some channel, the first reason why."""
    return {g.name: next(iter(g.pinned.values())) for g in channel_map.groups if g.pinned and g.producers}
