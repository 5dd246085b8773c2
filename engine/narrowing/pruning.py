"""One-shot pruning as one call: scores and an allocation in, a proven narrow network out."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ..graph.channels import ChannelMap
from ..graph.cost import Cost, count
from ..graph.residual import view
from ..graph.trace import Trace, trace
from ..network.network import Network
from ..selection.allocation import Allocation, Prunable
from ..selection.plan import Plan, plan_of
from ..selection.selection import Scores, Selection, equal_scores
from .narrowing import narrow_proven


@dataclass(frozen=True, eq=False)
class Pruned:
    """A narrow network and how it was arrived at.

    Attributes:
        network: ready to be saved; its history has one step more.
        map: the full network's channel map.
        removed: the channel ids that left.
        residual: how residual streams were treated.
        selection: which channels left, and what the allocation had to say about it.
        kept: per convolution, the positions of the filters that stayed.
        before, after: what one image costs.
        difference: between the masked and the narrow network, relative, float64.
        pinned: per layer, why channels of it could not leave.
        misfits: what was pinned because the network's own code did not follow.
        notes: what else a user should know.
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
    notes: tuple[str, ...]

    @property
    def model(self) -> nn.Module:
        """The narrow network itself."""
        return self.network.model

    @property
    def plan(self) -> Plan:
        """What stays, as a plan that can be written, edited and applied again."""
        return plan_of(self.map, self.removed, arch=self.network.arch, residual=self.residual)


def prune_network(
    network: Network,
    allocation: Allocation,
    scores: Scores,
    *,
    traced: Trace | None = None,
    options: Mapping[str, object] | None = None,
) -> Pruned:
    """Remove what the allocation asks for, lowest scores first, and prove the result.

    Args:
        network: left as it is.
        scores: per convolution name, scores_F; may be empty where the allocation needs none.
        traced: the network's trace, where it is there already.
        options: for the history, beside the allocation.
    Raises:
        AllocationError: the allocation cannot be met.
        ProofError: the narrow network would compute something else; nothing is returned.
    """
    allocation = allocation.for_arch(network.arch)
    traced = traced or trace(network.model, network.input_size)
    seen = view(network.model, traced, network.input_size, allocation.residual)
    selections: list[Selection] = []

    def choose(channel_map: ChannelMap) -> frozenset[int]:
        selections.append(select(network, allocation, channel_map, scores))
        return selections[-1].removed

    narrowed = narrow_proven(seen.model, seen.traced, network.input_size, choose, finish=seen.close)
    step = {**allocation.given(), **(options or {})}
    thin = network.after("prune", step, model=narrowed.model, accuracy=None)
    return Pruned(
        network=thin,
        map=narrowed.map,
        removed=narrowed.removed,
        residual=allocation.residual,
        selection=selections[-1],
        kept=kept_filters(narrowed.map, narrowed.removed),
        before=count(traced.map),
        after=count(seen.traced.map, narrowed.removed),
        difference=narrowed.difference,
        pinned=pinned_layers(narrowed.map),
        misfits=narrowed.misfits,
        notes=seen.notes,
    )


def prunable(network: Network, channel_map: ChannelMap) -> Prunable:
    """What allocations know of a network whose channels look like this under the residual mode."""
    return Prunable(
        map=channel_map,
        weights=network.model.state_dict(),
        conv_order=network.conv_order,
        block_of=network.block_of,
    )


def select(network: Network, allocation: Allocation, channel_map: ChannelMap, scores: Scores) -> Selection:
    """What an allocation removes from a network.

    Args:
        allocation: for the network's arch already; see `Allocation.for_arch`.
        channel_map: of the network as it looks under the residual mode.
        scores: per convolution name, scores_F.
    Raises:
        AllocationError: the allocation cannot be met.
    """
    return allocation.select(prunable(network, channel_map), scores)


@dataclass(frozen=True, eq=False)
class Forecast:
    """What an allocation leaves of a network; scores decide which filters leave, but not how many.

    Attributes:
        selection: one choice of the right size.
        map: of the network as it looks under the residual mode.
        before, after: what one image costs.
    """

    selection: Selection
    map: ChannelMap
    before: Cost
    after: Cost


def forecast(network: Network, allocation: Allocation, traced: Trace | None = None) -> Forecast:
    """Count what an allocation leaves, without scores or images.

    Raises:
        AllocationError: the allocation cannot be met.
    """
    allocation = allocation.for_arch(network.arch)
    traced = traced or trace(network.model, network.input_size)
    seen = view(network.model, traced, network.input_size, allocation.residual).traced.map
    selection = select(network, allocation, seen, equal_scores(seen))
    return Forecast(selection, seen, count(traced.map), count(seen, selection.removed))


def kept_filters(channel_map: ChannelMap, removed: frozenset[int]) -> dict[str, list[int]]:
    """Per convolution, the positions of the filters that stay."""
    convs = (layer for layer in channel_map.layers if layer.kind != "linear")
    return {layer.name: channel_map.kept(layer.name, removed).tolist() for layer in convs}


def pinned_layers(channel_map: ChannelMap) -> dict[str, str]:
    """Per group with convolutions that cannot lose some channel, the first reason why."""
    return {g.name: next(iter(g.pinned.values())) for g in channel_map.groups if g.pinned and g.producers}
