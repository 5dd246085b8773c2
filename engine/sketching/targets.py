"""Which convolutions a sketch can replace, read from the channel map, and how wide each becomes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group, Layer
from ..selection.allocation import BlockOf, in_no_block
from ..selection.rates import match_names, parse_rates


@dataclass(frozen=True, eq=False)
class Target:
    """A convolution whose channels one other layer reads, and nobody else.

    Attributes:
        maker: the convolution.
        reader: the convolution or linear layer that its channels go into.
        norms: the modules that normalise the channels on their way.
        place: number of the block that both are in; in a network without blocks, of the maker among all
            convolutions. The stem is 0.
    """

    maker: Layer
    reader: Layer
    norms: tuple[str, ...]
    place: int

    @property
    def name(self) -> str:
        """The maker's."""
        return self.maker.name

    @property
    def filters(self) -> int:
        """How many the maker has."""
        return len(self.maker.out_ids)


def targets(
    model: nn.Module, channel_map: ChannelMap, block_of: BlockOf = in_no_block
) -> tuple[tuple[Target, ...], dict[str, str]]:
    """Look at every group of channels that convolutions make.

    Args:
        model: the network that the map was read from.
        block_of: from a layer's name to the number of its block; channels that leave their block are no
            target.

    Returns:
        The targets in forward order, and group name -> why it is none.
    """
    survey = _Survey(model, channel_map, block_of)
    examined = {group.name: survey.examine(group) for group in channel_map.groups if group.producers}
    found = tuple(target for target in examined.values() if isinstance(target, Target))
    return found, {name: reason for name, reason in examined.items() if isinstance(reason, str)}


def widths(
    found: Sequence[Target],
    keep_rate: str,
    *,
    start: str = "1",
    skip: Sequence[str] = (),
    others: Iterable[str] = (),
) -> dict[Target, int]:
    """How many rows the sketch of each target has: int(rate * n), at least one.

    Args:
        found: the targets in forward order.
        keep_rate: shares kept, `"[0.6]*27"`: one per block that has targets, or one per target.
        start: the place to begin with, or the name of a target there; the list begins there too.
        skip: globs of targets to leave alone; a list by block has rates for them all the same.
        others: groups that are no targets, which globs may name as well.

    Returns:
        Target -> width, for those that are not left alone.

    Raises:
        AllocationError: a malformed list, a wrong count, a start that is no target, a glob without a match.
    """
    rates = parse_rates(keep_rate, keep=True)
    first = _first_place(found, start)
    begun = [target for target in found if target.place >= first]
    names = [*(target.name for target in found), *others]
    skipped = {name for glob in skip for name in match_names(glob, names, "`skip`")}
    taken = [target for target in begun if target.name not in skipped]
    places = sorted({target.place for target in begun})
    if len(rates) == len(taken):
        rated = zip(taken, rates, strict=True)
    elif len(rates) == len(places):
        rate_at = dict(zip(places, rates, strict=True))
        rated = ((target, rate_at[target.place]) for target in taken)
    else:
        by_block = f"{len(places)}, one per block, or " if len(places) != len(taken) else ""
        one_rate = len(set(rates)) == 1 and taken
        alike = f"; the same for all is '[{rates[0]:g}]*{len(taken)}'" if one_rate else ""
        raise AllocationError(
            f"{len(rates)} rates given; with `start_conv` {start} this network takes {by_block}{len(taken)}, "
            f"one per convolution that is sketched{alike}"
        )
    return {target: max(1, int(rate * target.filters)) for target, rate in rated}


def _first_place(found: Sequence[Target], start: str) -> int:
    """The place that a start means."""
    if not start.isdecimal():
        named = match_names(start, [target.name for target in found], "`start_conv`")
        return next(target.place for target in found if target.name in named)
    last = max((target.place for target in found), default=0)
    if int(start) > last:
        raise AllocationError(f"`start_conv` {start}: the last place with something to sketch is {last}")
    return int(start)


class _Survey:
    """One network, asked about group after group."""

    def __init__(self, model: nn.Module, channel_map: ChannelMap, block_of: BlockOf) -> None:
        self._model, self._map = model, channel_map
        self._block = {layer.name: block_of(layer.name) for layer in channel_map.layers}
        self._has_blocks = set(self._block.values()) != {None}
        convolutions = (layer.name for layer in channel_map.layers if layer.kind != "linear")
        self._position = {name: number for number, name in enumerate(convolutions)}

    def examine(self, group: Group) -> Target | str:
        """The target that a group makes, or why it makes none."""
        if group.stream:
            return "its outputs are added into a residual stream"
        if group.pinned:
            return next(iter(group.pinned.values()))
        makers, readers = self._makers(group), self._readers(group)
        if len(makers) > 1:
            return f"{makers[1].name} makes the same channels"
        if len(readers) != 1:
            return f"{len(readers)} layers read its channels, not one"
        maker, reader = makers[0], readers[0]
        if objection := _objection(maker, reader):
            return objection
        place = self._block[maker.name] if self._has_blocks else self._position[maker.name]
        if place is None or (self._has_blocks and self._block[reader.name] != place):
            return f"its channels leave their block for {reader.name}"
        norms: dict[str, None] = {}
        for tensor in self._others(group, maker, reader):
            module = tensor.rpartition(".")[0]
            if not isinstance(self._model.get_submodule(module), _BatchNorm):
                return f"{tensor}, which is no batch norm's, goes by its channels too"
            norms[module] = None
        return Target(maker, reader, tuple(norms), place)

    def _makers(self, group: Group) -> list[Layer]:
        layers = (layer for layer in self._map.layers if layer.kind != "depthwise")
        return [layer for layer in layers if np.isin(layer.out_ids, group.channels).any()]

    def _readers(self, group: Group) -> list[Layer]:
        return [layer for layer in self._map.layers if np.isin(layer.in_ids, group.channels).any()]

    def _others(self, group: Group, maker: Layer, reader: Layer) -> list[str]:
        """The tensors that a group's channels index, beside the weights of these two."""
        return [
            name
            for name, axes in self._map.axes.items()
            if name not in (maker.weight, maker.bias, reader.weight)
            and any(np.isin(axis.ids, group.channels).any() for axis in axes)
        ]


def _objection(maker: Layer, reader: Layer) -> str | None:
    """Why these two layers cannot be sketched along the channels between them."""
    if maker.kind == "linear":
        return "it is a linear layer"
    if maker.kind != "conv" or maker.groups > 1:
        return "it is a transposed or grouped convolution"
    if reader.kind not in ("conv", "linear") or reader.groups > 1:
        return f"{reader.name}, which reads its channels, is a depthwise, transposed or grouped convolution"
    if len(np.unique(maker.out_ids)) < len(maker.out_ids):
        return "some of its channels are tied to each other"
    each = len(reader.in_ids) // len(maker.out_ids)
    if not np.array_equal(reader.in_ids, np.repeat(maker.out_ids, each)):
        return f"{reader.name} reads other channels too, or these in another order"
    return None
