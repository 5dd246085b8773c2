"""What a network's code knows of its attention heads: numbers that must follow when heads leave."""

from collections.abc import Iterator, Mapping

import numpy as np
from torch import nn

from ..graph.channels import ChannelMap, Layer
from ..modules.attention import follows_its_weights
from ..modules.numbers import whole_numbers


def numbers_without(
    model: nn.Module, channel_map: ChannelMap, removed: frozenset[int]
) -> dict[str, dict[str, int]]:
    """The numbers of modules with heads as they are likely to be without these channels.

    Where filters of a layer leave in bundles, as those of a head do, its owner may keep how many bundles
    there are, how many filters, and how many of these are queries where one layer makes those and more.
    Whether the code means that by its numbers, the proof of the structure decides.
    """
    gone = channel_map.removal_mask(removed)
    modules = dict(model.named_modules())
    found: dict[str, dict[str, int]] = {}
    for layer in channel_map.layers:
        path = layer.weight.rpartition(".")[0].rpartition(".")[0]
        owner = modules.get(path)
        left = ~gone[layer.out_ids]
        if owner is None or left.all() or layer.groups > 1 or follows_its_weights(owner):
            continue
        narrow_of = dict(_widths(layer, left))
        meant = {
            attribute: value
            for attribute, value in whole_numbers(owner).items()
            if value in narrow_of and not (_is_width_too(layer, value) and "dim" in attribute)
        }
        for attribute, value in meant.items():
            if not _is_another_number(attribute, value, meant):
                found.setdefault(path, {})[attribute] = narrow_of[value]
    return found


def _is_another_number(attribute: str, value: int, meant: Mapping[str, int]) -> bool:
    """Is there one as large that says it counts heads, where this does not? A stride may be as large."""
    said = {name for name, as_large in meant.items() if as_large == value and "head" in name}
    return bool(said) and attribute not in said


def _is_width_too(layer: Layer, heads: int) -> bool:
    """Are there as many heads as each is wide? Then a number may mean either."""
    filters = len(layer.out_ids)
    return heads == len(np.unique(layer.out_ids)) and heads * heads in (filters, filters // 2, filters // 3)


def _widths(layer: Layer, left: np.ndarray) -> Iterator[tuple[int, int]]:
    """Numbers that describe a layer's width in heads and filters -> what they are for the filters left."""
    filters, heads = len(layer.out_ids), len(np.unique(layer.out_ids))
    if filters == heads:
        return
    kept, kept_heads = int(left.sum()), len(np.unique(layer.out_ids[left]))
    for parts in (1, 2, 3):  # queries alone, keys and values, or all in one
        if filters % parts == 0 == kept % parts:
            yield filters // parts, kept // parts
    yield heads, kept_heads
