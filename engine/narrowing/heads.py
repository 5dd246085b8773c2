"""What a network's code knows of its attention heads: numbers that must follow when heads leave."""

from collections.abc import Iterator, Mapping

import numpy as np
from torch import nn

from ..graph.channels import ChannelMap, Layer
from ..graph.head_dims import HEAD_DIMS
from ..modules.attention import FUSED, follows_its_weights, keeps_a_scale
from ..modules.numbers import whole_numbers

HEAD_DIM = "head_dim"  # what attention that follows its weights calls the width of a head


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
    dims = channel_map.ids_of(HEAD_DIMS)
    found: dict[str, dict[str, int]] = {}
    for layer in channel_map.layers:
        path = _owner(layer, modules)
        owner = modules.get(path)
        left, by_dims = ~gone[layer.out_ids], bool(np.isin(layer.out_ids, dims).any())
        follows = owner is not None and follows_its_weights(owner)
        if owner is None or left.all() or layer.groups > 1 or (follows and not by_dims):
            continue
        narrow_of = dict(_widths(layer, left))
        meant = {
            attribute: value
            for attribute, value in whole_numbers(owner).items()
            if value in narrow_of and _may_mean(attribute, value, layer, by_dims)
        }
        for attribute, value in meant.items():
            if attribute == HEAD_DIM if follows else not _is_another_number(attribute, value, meant):
                found.setdefault(path, {})[attribute] = narrow_of[value]
        if by_dims and keeps_a_scale(owner):
            found.setdefault(path, {})[FUSED] = 0
    return found


def _owner(layer: Layer, modules: Mapping[str, nn.Module]) -> str:
    """The path of the module whose code uses a layer: attention whose own weight it is, or its parent."""
    path = layer.weight.rpartition(".")[0]
    return path if follows_its_weights(modules.get(path, nn.Module())) else path.rpartition(".")[0]


def _may_mean(attribute: str, value: int, layer: Layer, by_dims: bool) -> bool:
    """Where there are as many heads as each is wide, a number may mean either: its name says which."""
    says_width = "dim" in attribute or "size" in attribute
    return not _is_width_too(layer, value) or says_width == by_dims


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
