"""ResRep's `deps`: the width of every convolution, in the order that the network's arch defines."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...weights import store
from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..selection.selection import Scores, Selection, channel_scores, leaving, removal_order


def read_deps(text: str) -> tuple[int, ...]:
    """Read widths that are written out, `16,10,16`, or those that a weight file carries.

    Args:
        text: the widths, or the path of a file that ends in .hdf5.

    Raises:
        AllocationError: neither of the two, or a file that carries none.
        WeightsError: the file cannot be read.
    """
    if re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text, re.ASCII):
        return tuple(int(width) for width in text.split(","))
    if Path(text).suffix != ".hdf5":
        raise AllocationError(
            f"deps '{text}' are neither widths, such as '16,10,16', nor an .hdf5 file that carries some"
        )
    deps = store.read(text).deps
    if deps is None:
        raise AllocationError(f"'{text}' carries no deps; write the widths out, such as '16,10,16'")
    return tuple(deps.tolist())


def by_deps(
    channel_map: ChannelMap, scores: Scores, deps: Sequence[int], conv_order: Sequence[str]
) -> Selection:
    """Bring every convolution to a given width; the channels of smallest score leave.

    Ding et al., ICCV 2021, arXiv 2007.03260, write their results this way. Residual streams take part:
    all convolutions of a stream must be given one width.

    Args:
        channel_map: of the network.
        scores: per convolution name, scores_F.
        deps: widths, one per name in `conv_order`.
        conv_order: the convolutions in the order of `deps`; empty for a network that has no such order.

    Raises:
        AllocationError: no order, a wrong count, a width out of range, different widths within one group, or
            a channel that may not leave; each names the convolution.
    """
    width_of = _by_name(channel_map, deps, conv_order)
    removed: list[int] = []
    counts: dict[str, tuple[int, int]] = {}
    for group in channel_map.groups:
        n, width = len(group.channels), _agreed_width(channel_map, group, width_of)
        if width is None:
            continue
        counts[group.name] = (width, n)
        if width < n:
            order = removal_order(group, channel_scores(channel_map, group, scores))
            leave, shortfall = leaving(group, order, n - width, min_channels=1)
            if shortfall:
                reason = next(iter(group.pinned.values()))
                raise AllocationError(f"deps give '{group.name}' {width} channels of {n}, but {reason}")
            removed += group.channels[leave].tolist()
    return Selection(frozenset(removed), counts)


def _by_name(channel_map: ChannelMap, deps: Sequence[int], conv_order: Sequence[str]) -> dict[str, int]:
    if not conv_order:
        raise AllocationError(
            "this network has no order of deps; say what leaves with --layer-rate or --plan"
        )
    if len(deps) != len(conv_order):
        raise AllocationError(
            f"{len(deps)} deps given; this network takes {len(conv_order)}, one width per convolution: "
            f"{conv_order[0]}, {conv_order[1]}, ..., {conv_order[-1]}"
        )
    for name, width in zip(conv_order, deps, strict=True):
        filters = len(channel_map.layer(name).out_ids)
        if not 1 <= width <= filters:
            raise AllocationError(f"deps give '{name}' {width} channels; it can have 1 to {filters}")
    return dict(zip(conv_order, deps, strict=True))


def _agreed_width(channel_map: ChannelMap, group: Group, width_of: Mapping[str, int]) -> int | None:
    """The one width of the convolutions that work on a group's channels; None where there are none."""
    members = [name for name in width_of if np.isin(channel_map.layer(name).out_ids, group.channels).any()]
    for name in members:
        if width_of[name] != width_of[members[0]]:
            raise AllocationError(
                f"deps give '{members[0]}' {width_of[members[0]]} channels and '{name}' {width_of[name]}, "
                "but the two lose the same channels; give them one width"
            )
    return width_of[members[0]] if members else None
