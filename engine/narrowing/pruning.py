"""From an allocation and scores to a proven narrow network in one call; and how much would leave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..graph.channels import ChannelMap
from ..graph.cost import Cost, count
from ..graph.residual import View, parted, passing_shortcuts
from ..graph.trace import Trace, trace
from ..network.network import Network
from ..scores.score_file import skipping_unscored_units
from ..selection.allocation import Allocation, Prunable
from ..selection.selection import Scores, Selection, equal_scores
from .frozen import as_seen
from .narrowing import left_alone, narrow_as_planned
from .outcome import Outcome, outcome_of
from .thin import cut_proven


class Choice:
    """What leaves, asked of a channel map: again whenever something in it had to be pinned.

    Attributes:
        selection: the last answer, whole.
    """

    selection: Selection

    def __init__(self, select: Callable[[ChannelMap], Selection]) -> None:
        self._select = select

    def __call__(self, channel_map: ChannelMap) -> frozenset[int]:
        """The channel ids that leave."""
        self.selection = self._select(channel_map)
        return self.selection.removed


def prune_network(
    network: Network,
    allocation: Allocation,
    scores: Scores,
    *,
    traced: Trace | None = None,
    options: Mapping[str, object] | None = None,
) -> Outcome:
    """Remove what the allocation asks for, lowest scores first, and prove the result.

    Args:
        network: left as it is.
        scores: per layer name, scores_F; may be empty where the allocation needs none.
        traced: the network's trace, where it is there already.
        options: for the history, beside the allocation.
    Raises:
        AllocationError: the allocation cannot be met.
        ProofError: the narrow network would compute something else; nothing is returned.
    """
    allocation = allocation.for_arch(network.arch)
    network, traced = as_asked(network, allocation, traced)
    seen = as_seen(network, traced, allocation.residual)
    scored = skipping_unscored_units(allocation, seen.traced.map, scores)
    choice = choice_of(network, scored, scores, seen.traced.map)
    thin = cut_proven(seen, network.takes, choice)
    step = {**allocation.given(), **(options or {})}
    narrow = network.after("prune", step, model=thin.model, accuracy=None)
    notes = (*network.notes, *seen.notes, *thin.notes)
    return outcome_of(narrow, thin, choice.selection, allocation.residual, count(traced.map), notes)


def as_asked(network: Network, allocation: Allocation, traced: Trace | None = None) -> tuple[Network, Trace]:
    """A network and its trace, as they are or, where an allocation gives them unequal widths, streams apart.

    Args:
        allocation: for the network's arch already; see `Allocation.for_arch`.
        traced: the network's trace, where it is there already.

    Raises:
        AllocationError: nothing may leave, or a glob matches nothing.
    """
    traced = traced or trace(network.model, network.takes)
    if not wants_apart(network, allocation, traced):
        return network, traced
    network = apart(network)
    return network, trace(network.model, network.takes)


def wants_apart(network: Network, allocation: Allocation, traced: Trace) -> bool:
    """Does an allocation give unequal widths to what is one stream now, but need not be? See `as_asked`."""
    if allocation.residual != "coupled" or not passing_shortcuts(network.model):
        return False
    return allocation.parts_streams(prunable(network, traced.map))


def apart(network: Network) -> Network:
    """The same network, every stream with channels of its own; see `engine.graph.residual.parted`."""
    return network.holding(parted(network.model, network.takes))


def choice_of(network: Network, allocation: Allocation, scores: Scores, seen: ChannelMap) -> Choice:
    """What an allocation removes from a network.

    Args:
        allocation: for the network's arch already; see `Allocation.for_arch`.
        scores: per layer name, scores_F.
        seen: the channels of the network as it looks under the residual mode, before anything was pinned.
    """
    return Choice(lambda channel_map: allocation.select(prunable(network, channel_map, seen), scores))


def prunable(network: Network, channel_map: ChannelMap, seen: ChannelMap | None = None) -> Prunable:
    """What allocations know of a network whose channels look like this under the residual mode.

    Args:
        seen: how they looked before anything was pinned.
    """
    return Prunable(
        map=channel_map,
        weights=network.model.state_dict(),
        conv_order=network.conv_order,
        block_of=network.block_of,
        model=network.model,
        unpinned=seen,
    )


@dataclass(frozen=True, eq=False)
class Forecast:
    """What an allocation leaves of a network; scores decide which filters leave, but not how many.

    Attributes:
        selection: one choice of the right size.
        map: of the network as it looks under the residual mode, what its code holds on to pinned.
        before, after: what one image costs.
        notes: what had to be pinned.
    """

    selection: Selection
    map: ChannelMap
    before: Cost
    after: Cost
    notes: tuple[str, ...] = ()


def forecast(network: Network, allocation: Allocation, traced: Trace | None = None) -> Forecast:
    """Count what an allocation leaves, without scores or images.

    Raises:
        AllocationError: the allocation cannot be met.
    """
    allocation = allocation.for_arch(network.arch)
    network, traced = as_asked(network, allocation, traced)
    seen = as_seen(network, traced, allocation.residual)
    return forecast_on(network, allocation, seen, count(traced.map))


def forecast_on(network: Network, allocation: Allocation, seen: View, before: Cost) -> Forecast:
    """As `forecast`, where it is known already how the network looks under the residual mode.

    As much is cut as will be: only then it shows where a network's code holds on to a number of channels.
    """
    channel_map = seen.traced.map
    choice = choice_of(network, allocation, equal_scores(channel_map), channel_map)
    if network.is_built_in:
        removed = choice(channel_map)
        return Forecast(choice.selection, channel_map, before, count(channel_map, removed))
    cut = narrow_as_planned(seen.model, seen.traced, network.takes, choice)
    selection = replace(choice.selection, removed=cut.removed)
    return Forecast(selection, cut.map, before, count(cut.map, cut.removed), left_alone(cut.misfits))
