"""How far a network can be narrowed at all: every group that takes part at its last channel."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..graph.channels import ChannelMap, Ids
from ..graph.cost import Counter
from .removal_order import Limits, RemovalOrder
from .selection import Residual, equal_scores, prunable_groups


@dataclass(frozen=True)
class Least:
    """The smallest network in reach of a residual mode.

    Attributes:
        macs: multiply-accumulates per image.
        params: parameters.
        share: of the full network's multiply-accumulates that can leave, 0 to 1.
    """

    macs: int
    params: int
    share: float


def smallest(channel_map: ChannelMap, residual: Residual = "internal") -> Ids:
    """The ids that leave when every group that takes part keeps as little as it can: one channel, mostly."""
    groups = prunable_groups(channel_map, residual)
    order = RemovalOrder(channel_map, groups, equal_scores(channel_map), limits=Limits(max_rate=1.0))
    return order.removed(len(order))


def least(channel_map: ChannelMap, residual: Residual = "internal", whole: int | None = None) -> Least:
    """What the smallest network costs.

    Args:
        channel_map: of the network as it looks under the residual mode.
        residual: the mode.
        whole: multiply-accumulates that the share is of; by default those of `channel_map`.
    """
    counter = Counter(channel_map)
    macs, params = counter.totals(smallest(channel_map, residual))
    whole = counter.totals(())[0] if whole is None else whole
    return Least(macs, params, 1 - macs / whole if whole else 0.0)


def reach_in_words(channel_map: ChannelMap, residual: Residual) -> str:
    """For refusals: how much can leave, and who knows what holds the rest.

    Args:
        channel_map: of the network as it looks under the residual mode.
        residual: the mode that was asked for; in the map of `scatter` the others do not show.
    """
    modes: Iterable[Residual] = ("scatter",) if residual == "scatter" else ("internal", "coupled")
    shares = {mode: f"{least(channel_map, mode).share:.1%}" for mode in modes}
    (first, share), *others = shares.items()
    where = "".join([f" in `residual` {first}", *(f", {more} in {mode}" for mode, more in others)])
    if others and len(set(shares.values())) == 1:
        where = ""  # no stream makes a difference
    held = any(group.producers and (group.stream or not group.free.all()) for group in channel_map.groups)
    more = ", perhaps more in scatter" if held and residual != "scatter" else ""
    told = f"at most {share} of the MACs can leave{where}{more}"
    return f"{told}; `prune inspect` with `channels` says what holds the rest"
