"""What can leave a network and what cannot: groups of channels, who holds them, how far each mode goes."""

from collections import Counter as Tally
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from ..events import Event, Working
from ..graph.channels import ChannelMap, Group
from ..graph.cost import Cost, count
from ..graph.known import known_trace
from ..graph.places import Place, Reason
from ..graph.residual import view
from ..graph.trace import Trace
from ..graph.ways_out import way_out
from ..network.network import Network
from ..selection.reach import Least, least
from .frozen import in_question, try_without


@dataclass(frozen=True)
class Hold:
    """One reason why channels of a group stay.

    Attributes:
        reason: in words, with op, module and line.
        channels: how many it holds.
        place: the same taken apart; None where no op is to blame.
        way_out: what to change so that they may leave; empty where nobody knows.
    """

    reason: str
    channels: int
    place: Place | None
    way_out: str


@dataclass(frozen=True)
class GroupReach:
    """Channels that are chosen together.

    Attributes:
        name: of the first layer that makes them.
        members: the layers that make them or, depthwise, pass them on, in forward order.
        channels: how many there are.
        free: how many of them may leave.
        stream: are outputs of several layers added into them? Then `internal` leaves them alone.
        holds: why the others stay.
        unit: what each of them is: "channels", "heads" or "head dimensions".
    """

    name: str
    members: tuple[str, ...]
    channels: int
    free: int
    stream: bool
    holds: tuple[Hold, ...]
    unit: str


@dataclass(frozen=True, repr=False)
class Reach:
    """What can leave a network.

    Attributes:
        groups: in forward order.
        modes: residual mode -> the smallest network in its reach.
        before: what one image costs now.
        notes: what a user should know of `scatter`, and of how MACs were counted.
    """

    groups: tuple[GroupReach, ...]
    modes: Mapping[str, Least]
    before: Cost
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        held = [group for group in self.groups if group.free < group.channels]
        lines = [f"{len(self.groups)} groups of channels, {len(held)} with channels that stay"]
        lines += [
            f"  {mode:8} {100 * least.share:5.1f}% of the MACs can leave"
            for mode, least in self.modes.items()
        ]
        lines += [f"  {group.name}: {hold.reason}" for group in held for hold in group.holds]
        return "\n".join(lines)


def reaching(network: Network) -> Generator[Event, None, Reach]:
    """Find out what can leave a network; in code that is not ours, by trying to do without a channel each.

    Raises:
        TraceError: torch.export cannot follow the network.
    """
    yield Working(0, 3, "tracing")
    traced = known_trace(network.model, network.takes)
    yield Working(1, 3, "looking at what can leave")
    channel_map = _tried(network, traced)
    before = count(traced.map)
    modes = {mode: least(channel_map, mode, before.macs) for mode in ("internal", "coupled")}
    notes = before.notes
    if any(group.producers and (group.stream or group.pinned) for group in channel_map.groups):
        yield Working(2, 3, "opening the residual streams")
        seen = view(network.model, traced, network.takes, "scatter", channel_map.pinned)
        modes["scatter"] = least(_tried(network, seen.traced, seen.model), "scatter", before.macs)
        notes += seen.notes
    else:
        modes["scatter"] = modes["internal"]
    members = _members(channel_map)
    groups = tuple(_facts(group, members[group.name]) for group in channel_map.groups)
    return Reach(groups, modes, before, notes)


def _tried(network: Network, traced: Trace, model: nn.Module | None = None) -> ChannelMap:
    """The channels, with those pinned that the network's code holds on to."""
    if network.is_built_in:
        return traced.map
    return try_without(model or network.model, traced, network.takes, in_question(traced.map)).map


def _members(channel_map: ChannelMap) -> Mapping[str, tuple[str, ...]]:
    """Group -> the layers whose outputs have channels of it."""
    owner = {channel: group.name for group in channel_map.groups for channel in group.channels.tolist()}
    members: dict[str, list[str]] = {group.name: [] for group in channel_map.groups}
    for layer in channel_map.layers:
        for name in dict.fromkeys(owner.get(channel, "") for channel in np.unique(layer.out_ids).tolist()):
            if name:
                members[name].append(layer.name)
    return {name: tuple(layers) for name, layers in members.items()}


def _facts(group: Group, members: tuple[str, ...]) -> GroupReach:
    holds = tuple(
        Hold(str(reason), channels, reason.place if isinstance(reason, Reason) else None, way_out(reason))
        for reason, channels in Tally(group.pinned.values()).items()
    )
    return GroupReach(
        group.name, members, len(group.channels), int(group.free.sum()), group.stream, holds, group.unit
    )
