"""Channel ids through ops on neighbourhoods: pooling, resizing, sampling, windows and their pixels."""

from typing import Any

import numpy as np
import torch
from torch import fx

from .channels import NO_ID, Ids
from .ids import Value, along
from .nodes import op_name
from .walk import Arguments, Walk, unknown


def same_channels(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Copies, and what works on the last axes alone, as pooling does: channels stay, zeros stay zeros."""
    x = given.get("self", given.get("input"))
    made = node.meta.get("val")
    first, *others = made if isinstance(made, list | tuple) else (made,)
    if not isinstance(x, Value) or first is None:
        return walk.give_up(node, given.values(), "no rule for this op")
    ids = walk.mixed(x, range(len(x.shape) - _spatial_axes(op_name(node)), len(x.shape)))
    if ids is None or any(extent not in (1, first.shape[axis]) for axis, extent in enumerate(ids.shape)):
        return walk.give_up(node, given.values(), "channels are mixed")
    values = [Value(tuple(first.shape), ids, x.reads_zero, x.computed)]
    values += [_places(tensor, ids) for tensor in others]
    return values if isinstance(made, list | tuple) else values[0]


def along_one_axis(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Running sums, sorting: free along an axis without channels, whose zeros stay zeros."""
    x, made = given["self"], node.meta["val"]
    dim = given.get("dim")
    if dim is None or int(dim) % len(x.shape) in x.varying_axes():
        return walk.give_up(node, given.values(), "channels are mixed")
    if isinstance(made, torch.Tensor):
        return Value(tuple(made.shape), x.ids, x.reads_zero)
    return [Value(tuple(made[0].shape), x.ids, x.reads_zero), *(_places(part, x.ids) for part in made[1:])]


def unpool(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Maxima go back to where they were: what is pooled and the places go by the same channels."""
    x, places = given["self"], given["indices"]
    if x.varying_axes() != [1] or places.varying_axes() != [1]:
        return walk.give_up(node, given.values(), "no places that go by channel")
    walk.unite(x.ids, places.ids)
    return Value(tuple(node.meta["val"].shape), x.ids, x.reads_zero)


def sample(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`grid_sample`: every channel is read at the same places, which themselves have no channels."""
    x, grid = given["input"], given["grid"]
    walk.pin(grid.ids, f"coordinates at {walk.where()}")
    if any(axis > 1 for axis in x.varying_axes()):
        return walk.give_up(node, given.values(), "channels are mixed")
    return Value(tuple(node.meta["val"].shape), x.ids, x.reads_zero)


def windows(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`Tensor.unfold`: windows along one axis, their elements on a new last one."""
    x, dim = given["self"], int(given["dimension"])
    if dim % len(x.shape) in x.varying_axes():
        return walk.give_up(node, given.values(), "channels are mixed")
    return Value(tuple(node.meta["val"].shape), x.ids[..., None], x.reads_zero)


def columns(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`F.unfold`: every channel becomes as many as the window has pixels."""
    x, made = given["self"], node.meta["val"]
    ids = walk.line(x, -3)
    if ids is None:
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    ids = np.repeat(ids, np.prod(given["kernel_size"]))
    return Value(tuple(made.shape), along(made.dim() - 2, made.dim(), ids), x.reads_zero)


def from_columns(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`F.fold`: the pixels of a window become one channel, so they leave together."""
    return _joined(walk, node, given, -2, int(np.prod(given["kernel_size"])))


def pixel_shuffle(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """The square of the factor many channels become one, so they leave together."""
    return _joined(walk, node, given, -3, int(given["upscale_factor"]) ** 2)


def _joined(walk: Walk, node: fx.Node, given: Arguments, axis: int, count: int) -> Any:
    """Every `count` neighbours along an axis become one channel, on the third axis from the end."""
    x, made = given["self"], node.meta["val"]
    ids = walk.line(x, axis)
    if ids is None:
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    if (ids != NO_ID).any():
        walk.unite(ids.reshape(-1, count)[:, :1], ids.reshape(-1, count))
    return Value(tuple(made.shape), along(made.dim() - 3, made.dim(), ids[::count]), x.reads_zero)


def _places(tensor: torch.Tensor, ids: Ids) -> Value:
    """Positions that an op returns beside values: one per value, and not zero where that is."""
    if tensor.dim() != ids.ndim:
        return unknown(tensor)
    return Value(tuple(tensor.shape), ids, reads_zero=False)


def _spatial_axes(op: str) -> int:
    """Over how many last axes an op of this name works; copies work on none."""
    return next((n for n in (1, 2, 3) if f"{n}d" in op), 0)
