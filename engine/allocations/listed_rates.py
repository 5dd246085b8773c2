"""Rates that are listed, per convolution, group or block, as the papers write them, and rates by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..selection.rates import check_rate, match_layer_rates
from ..selection.selection import Scores, Selection, by_group_rates

BlockOf = Callable[[str], int | None]


def in_no_block(layer_name: str) -> None:
    """The `BlockOf` of networks whose blocks nobody has named."""


def by_rate_list(
    channel_map: ChannelMap,
    groups: Iterable[Group],
    scores: Scores,
    rates: Sequence[float],
    *,
    block_of: BlockOf = in_no_block,
    keep: bool = False,
    min_channels: int = 1,
) -> Selection:
    """Remove by a paper's list: one rate per convolution in forward order, depthwise ones included.

    A list may also hold one rate per group, or one per block that has any. Rates of convolutions outside
    `groups` are ignored, and returned as such.

    Args:
        channel_map: of the network.
        groups: those that take part.
        scores: per convolution name, scores_F.
        rates: shares removed, in [0, 1); with `keep` shares kept, in (0, 1].
        block_of: from a convolution's name to the number of its block, counted in forward order, or None.
        keep: int(rate * n) channels, at least one, are kept instead.
        min_channels: as many stay in every group.

    Raises:
        AllocationError: a wrong count, a rate out of range, or convolutions of one group with different
            rates.
    """
    groups = tuple(groups)
    for position, rate in enumerate(rates, 1):
        check_rate(rate, f"rate {position}", keep=keep)
    group_rates, ignored = spread_rates(channel_map, groups, rates, block_of)
    return by_group_rates(channel_map, groups, scores, group_rates, keep, min_channels, ignored)


def spread_rates(
    channel_map: ChannelMap, groups: Sequence[Group], rates: Sequence[float], block_of: BlockOf
) -> tuple[list[float], tuple[str, ...]]:
    """One rate per group out of a list, and the convolutions whose rates have no effect.

    Raises:
        AllocationError: the count fits neither convolutions nor groups nor blocks, or convolutions of one
            group have different rates.
    """
    convolutions = [layer.name for layer in channel_map.layers if layer.kind != "linear"]
    if len(rates) == len(convolutions):
        rate_of = dict(zip(convolutions, rates, strict=True))
        group_rates = [_agreed_rate(g, {name: rate_of[name] for name in g.producers}) for g in groups]
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


def by_layer_rates(
    channel_map: ChannelMap,
    groups: Iterable[Group],
    scores: Scores,
    layer_rates: Mapping[str, float],
    *,
    min_channels: int = 1,
) -> Selection:
    """Remove by rates per group or convolution name or glob; whatever no glob matches stays whole.

    Naming one convolution of a group names the group.

    Args:
        channel_map: of the network.
        groups: those that take part.
        scores: per convolution name, scores_F.
        layer_rates: glob -> share removed, in [0, 1); where several match, the last one counts.
        min_channels: as many stay in every group.

    Raises:
        AllocationError: a glob that matches nothing, or convolutions of one group with different rates.
    """
    groups = tuple(groups)
    names = [layer.name for layer in channel_map.layers if layer.kind != "linear"]
    rate_of = match_layer_rates(layer_rates, dict.fromkeys([*names, *(group.name for group in groups)]))
    members = [dict.fromkeys((group.name, *group.producers)) for group in groups]
    group_rates = [
        _agreed_rate(group, {name: rate_of[name] for name in mine if name in rate_of})
        for group, mine in zip(groups, members, strict=True)
    ]
    heard = {name for mine in members for name in mine}
    ignored = tuple(name for name in rate_of if name not in heard)
    return by_group_rates(channel_map, groups, scores, group_rates, False, min_channels, ignored)


def _agreed_rate(group: Group, rate_of: Mapping[str, float]) -> float:
    """The one rate of a group's convolutions; 0 where none is given."""
    if len(set(rate_of.values())) > 1:
        listed = ", ".join(f"{name} {rate:g}" for name, rate in rate_of.items())
        raise AllocationError(
            f"these convolutions lose the same channels, so their rates must be equal: {listed}; "
            f"give them one rate, or skip '{group.name}'"
        )
    return next(iter(rate_of.values()), 0.0)


def _common_block(group: Group, block_of: BlockOf) -> int | None:
    """The block that holds all of a group's convolutions, or None."""
    blocks = {block_of(name) for name in group.producers}
    return blocks.pop() if len(blocks) == 1 else None
