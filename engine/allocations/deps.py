"""ResRep's `deps`: the width of every convolution, in the order that the network's arch defines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ...weights import store
from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..selection.allocation import Allocation, Prunable
from ..selection.selection import Scores, Selection, channel_scores, leaving, removal_order


@dataclass(frozen=True, kw_only=True)
class Deps(Allocation):
    """Every convolution gets a width of its own; the channels of smallest score leave.

    Ding et al., ICCV 2021, arXiv 2007.03260, write their results this way. Residual streams take part:
    all convolutions of a stream must be given one width.

    Attributes:
        deps: widths, one per convolution in the order of the arch.
    """

    ways: ClassVar = (("deps",),)
    place: ClassVar = 60

    deps: tuple[int, ...]

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """See `Allocation`; the widths may also be text, as `read_deps` takes it."""
        deps = settings["deps"]
        widths = read_deps(deps) if isinstance(deps, str) else tuple(int(width) for width in deps)
        return cls(**{**settings, "deps": widths})

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """Three quarters of every width."""
        filters = (len(network.map.layer(name).out_ids) for name in network.conv_order)
        return cls(deps=tuple(max(1, 3 * n // 4) for n in filters))

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`.

        Raises:
            AllocationError: also a network that has no order of deps, a wrong count, a width out of range,
                different widths within one group, or a channel that may not leave; names the convolution.
        """
        width_of = _by_name(network.map, self.deps, network.conv_order)
        removed: list[int] = []
        counts: dict[str, tuple[int, int]] = {}
        for group in network.map.groups:
            n, width = len(group.channels), _agreed_width(network.map, group, width_of)
            if width is None:
                continue
            counts[group.name] = (width, n)
            if width < n:
                order = removal_order(group, channel_scores(network.map, group, scores))
                leave, shortfall = leaving(group, order, n - width, min_channels=1)
                if shortfall:
                    reason = next(iter(group.pinned.values()))
                    raise AllocationError(f"deps give '{group.name}' {width} channels of {n}, but {reason}")
                removed += group.channels[leave].tolist()
        return Selection(frozenset(removed), counts)


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


def _by_name(channel_map: ChannelMap, deps: Sequence[int], conv_order: Sequence[str]) -> dict[str, int]:
    if not conv_order:
        raise AllocationError(
            "this network has no order of deps; say what leaves with `layer_rates` or `plan`"
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
