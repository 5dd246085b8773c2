"""Which channels a network's own code holds on to: found out by trying to do without some."""

from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from torch import nn

from ..graph.channels import ChannelMap, Group
from ..graph.residual import View, view
from ..graph.trace import Trace
from ..modules.inputs import Takes
from ..network.network import Network
from ..selection.selection import Residual
from .narrowing import Cut, narrow_as_planned

# Per trace, the channels that stay, with those that the code holds on to: whoever plans also prunes.
_pinned: WeakKeyDictionary[Trace, Mapping[int, str]] = WeakKeyDictionary()


def try_without(model: nn.Module, traced: Trace, takes: Takes, groups: Iterable[Group]) -> Cut:
    """Take one channel out of each of these groups; where the code does not follow, pin what is there.

    Args:
        model: left as it is.
        traced: its trace for what it takes.
        groups: those of its map that are in question.

    Returns:
        `.map` with what is pinned, `.misfits` the reasons; nobody needs the network that comes of it.
    """
    spare = [channel for group in groups for channel in _spare(group)]
    return narrow_as_planned(model, traced, takes, lambda _: spare)


def in_question(channel_map: ChannelMap) -> list[Group]:
    """The groups whose channels may leave, as far as the graph says."""
    return [group for group in channel_map.groups if group.producers and _spare(group)]


def _spare(group: Group) -> list[int]:
    """The last channel that may leave without emptying the group, or a layer that makes a part of it."""
    alone = {int(part[0]) for part in group.parts if len(part) == 1}
    free = [channel for channel in group.channels[group.free].tolist() if channel not in alone]
    return free[-1:] if len(group.channels) > 1 else []


def as_seen(network: Network, traced: Trace, residual: Residual, model: nn.Module | None = None) -> View:
    """The network under a residual mode, see `graph.residual.view`; what its code holds on to counts as held.

    Args:
        network: left as it is.
        traced: its trace.
        residual: the mode.
        model: the same network with other weights, by default its own.
    """
    model = model or network.model
    if residual != "scatter" or network.is_built_in:
        return view(model, traced, network.takes, residual)
    if traced not in _pinned:
        _pinned[traced] = try_without(model, traced, network.takes, in_question(traced.map)).map.pinned
    return view(model, traced, network.takes, residual, _pinned[traced])
