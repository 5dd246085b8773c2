"""Rates that are listed, per convolution, group or block, as the papers write them: `[0.1]+[0.60]*35`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..selection.allocation import BlockOf, GroupAllocation, Prunable, label
from ..selection.rates import check_rate, parse_rates
from ..selection.selection import Scores, Selection, agreed_rate, by_group_rates, differ


@dataclass(frozen=True, kw_only=True)
class RateList(GroupAllocation):
    """One rate per convolution in forward order, depthwise ones included, or per group, or per block.

    Rates of convolutions outside the groups that take part are ignored, and returned as such. The papers'
    lists speak of convolutions, so linear layers stay whole.

    Attributes:
        compress_rate: shares removed, in [0, 1), HRank's way; int(rate * n) of n channels leave.
        keep_rate: shares kept, in (0, 1], FilterSketch's way; int(rate * n), at least one, stay.
    """

    ways: ClassVar = (("compress_rate",), ("keep_rate",))
    takes_linear: ClassVar = False
    place: ClassVar = 40

    compress_rate: str | None = None
    keep_rate: str | None = None

    def __post_init__(self) -> None:
        """Refuse what `Allocation` does, no list or two, and one that cannot be read or is out of range."""
        super().__post_init__()
        if (self.compress_rate is None) == (self.keep_rate is None):
            listed = " or ".join(label(way) for way in self.ways)
            raise AllocationError(f"a list of rates is given as either {listed}; give one of them")
        self._rates()

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """See `Allocation`; a list may also be numbers."""
        return cls(**{name: _as_text(name, value) for name, value in settings.items()})

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """A quarter of each convolution."""
        return cls(compress_rate=f"[0.25]*{len(_convolutions(network.map))}")

    def parts_streams(self, network: Prunable) -> bool:
        """See `Allocation`."""
        rates, convolutions = self._rates(), _convolutions(network.map)
        if len(rates) != len(convolutions):
            return False
        rate_of = dict(zip(convolutions, rates, strict=True))
        groups = self.groups(network)
        return any(differ(rate_of[name] for name in group.producers) for group in groups)

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`.

        Raises:
            AllocationError: also a wrong count, and convolutions of one group with different rates.
        """
        groups = self.groups(network)
        rates, ignored = _spread(network.map, groups, self._rates(), network.block_of)
        return by_group_rates(
            network.map,
            groups,
            scores,
            rates,
            keep=self.keep_rate is not None,
            min_channels=self.min_channels,
            ignored=ignored,
        )

    def _rates(self) -> list[float]:
        if self.keep_rate is not None:
            return parse_rates(self.keep_rate, keep=True)
        return parse_rates(self.compress_rate or "")


def _as_text(name: str, value: Any) -> Any:
    """A list of numbers in the papers' grammar; anything else as it is."""
    if name not in ("compress_rate", "keep_rate") or isinstance(value, str):
        return value
    rates = [float(rate) for rate in value]
    for position, rate in enumerate(rates, 1):
        check_rate(rate, f"rate {position}", keep=name == "keep_rate")
    return "+".join(f"[{rate}]" for rate in rates)


def _spread(
    channel_map: ChannelMap, groups: Sequence[Group], rates: Sequence[float], block_of: BlockOf
) -> tuple[list[float], tuple[str, ...]]:
    """One rate per group out of a list, and the convolutions whose rates have no effect.

    Raises:
        AllocationError: the count fits neither convolutions nor groups nor blocks, or convolutions of one
            group have different rates.
    """
    convolutions = _convolutions(channel_map)
    if len(rates) == len(convolutions):
        rate_of = dict(zip(convolutions, rates, strict=True))
        group_rates = [
            agreed_rate(channel_map, group, {name: rate_of[name] for name in group.producers})
            for group in groups
        ]
        heard = {name for group in groups for name in group.producers}
        return group_rates, tuple(name for name in convolutions if name not in heard)
    if len(rates) == len(groups):
        return list(rates), ()
    mine = [_common_block(group, block_of) for group in groups]
    used = sorted({block for block in mine if block is not None})
    if len(rates) == len(used) and None not in mine:
        rate_of_block = dict(zip(used, rates, strict=True))
        return [rate_of_block[block] for block in mine if block is not None], ()
    or_blocks = f", or {len(used)}, one per block" if used and None not in mine else ""
    raise AllocationError(
        f"{len(rates)} rates given; this network takes {len(convolutions)}, one per convolution in forward "
        f"order, or {len(groups)}, one per group that is pruned{or_blocks}"
    )


def _convolutions(channel_map: ChannelMap) -> list[str]:
    return [layer.name for layer in channel_map.layers if layer.kind != "linear"]


def _common_block(group: Group, block_of: BlockOf) -> int | None:
    """The block that holds all of a group's convolutions, or None."""
    blocks = {block_of(name) for name in group.producers}
    return blocks.pop() if len(blocks) == 1 else None
