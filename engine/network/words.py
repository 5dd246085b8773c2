"""A network in three lines."""

from typing import TYPE_CHECKING

from ..errors import TraceError
from ..graph.cost import count
from ..graph.known import known_trace

if TYPE_CHECKING:
    from .network import Network


def described(network: "Network") -> str:
    """What it is, what it costs and where it comes from."""
    size = "x".join(map(str, network.input_size))
    takes = f"images {size}" if size else f"takes {network.inputs}"
    classes = f"{network.num_classes} classes" if network.classifies else "no classifier"
    part = f", its part '{network.part}'" if network.part else ""
    params = sum(parameter.numel() for parameter in network.model.parameters())
    try:
        macs = f"{count(known_trace(network.model, network.takes).map).macs:,} MACs, "
    except TraceError:
        macs = ""
    known = network.accuracy or {}
    good = f"; {known['top1']:.2f} % on {known.get('dataset')}" if "top1" in known else ""
    return (
        f"Network {network.arch or 'without arch'}{part}, {classes}, {takes}\n"
        f"  {macs}{params:,} params\n"
        f"  from {network.origin or 'nowhere'}{good}"
    )


def notes_on(network: "Network") -> tuple[str, ...]:
    """What whoever prunes a network should know of it."""
    notes = []
    if network.made_plain:
        first, *others = network.made_plain
        more = f"{len(others)} other weight{'s' if len(others) > 1 else ''}"
        named = f"{first} and {more} are" if others else f"{first} is"
        notes.append(
            f"{named} plain now: what computed them (weight norm, weight standardisation or the like) is "
            "folded in, which changes no output; training goes on without it"
        )
    if network.through_norms:
        notes.append(
            "channels may leave norms over all channels, which then take the statistics of those that stay: "
            "a network of such norms is what the narrow one was proven to equal"
        )
    return tuple(notes)
