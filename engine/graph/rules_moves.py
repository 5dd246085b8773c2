"""Channel ids through ops that only move elements: views, permutations, parts, shuffles, concatenation."""

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from .channels import NO_ID, Ids
from .head_dims import note_split, sizes_of
from .ids import Value, along, compress, reshaped
from .nodes import module_path, op_name
from .walk import Arguments, Walk, identified, values_in


def rearrange(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Run the op on a tensor of ids: it says itself where each one goes."""
    given = {name: _with_own_ids(walk, argument) for name, argument in given.items()}
    values = values_in(given.values())
    moved = {name: _full_ids(argument) for name, argument in given.items()}
    made = _moved(node, moved)
    if made is None:
        made = _moved(node, {name: _copied(argument) for name, argument in moved.items()})
    if made is None:
        return walk.give_up(node, given.values(), "no rule for this op")
    zero, computed = _all_read_zero(values), any(v.computed for v in values)
    if isinstance(made, torch.Tensor):
        return Value(tuple(made.shape), compress(made), zero, computed)
    return [Value(tuple(part.shape), compress(part), zero, computed) for part in made]


def _moved(node: fx.Node, ids: dict[str, Any]) -> Any:
    """What the op makes of tensors of ids; None where it takes no such tensors."""
    try:
        return node.target(**ids)  # pyright: ignore[reportCallIssue]
    except (RuntimeError, TypeError, IndexError):
        return None


def _copied(argument: Any) -> Any:
    """Laid out in memory as a computed tensor is: a `view` may ask for that."""
    if isinstance(argument, torch.Tensor):
        return argument.contiguous()
    return [_copied(part) for part in argument] if isinstance(argument, list | tuple) else argument


def equal_parts(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`chunk`, `split`: parts that are equal stay equal if what stands in the same place leaves them all."""
    x, made = given["self"], node.meta["val"]
    dim = int(given["dim"] or 0) % len(x.shape)
    widths = {part.shape[dim] for part in made}
    if dim in x.varying_axes() and x.computed and len(made) > len(widths) == 1 and widths != {1}:
        parts = np.split(x.ids, len(made), dim)
        for part in parts[1:]:
            walk.unite(parts[0], part)
    return rearrange(walk, node, given)


def gated_halves(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`glu`: one half of an axis times the sigmoid of the other."""
    x, dim = given["self"], int(given["dim"])
    if dim % len(x.shape) not in x.varying_axes():
        return Value(tuple(node.meta["val"].shape), x.ids, x.reads_zero)
    value, gate = np.split(x.ids, 2, dim)
    walk.unite(value, gate)
    return Value(tuple(node.meta["val"].shape), value, x.reads_zero)


def reshape(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A view; where it begins a shuffle of channels, they leave all of its groups from the same places."""
    x = given["self"]
    made = tuple(node.meta["val"].shape)
    axis = next((axis for axis, (a, b) in enumerate(zip(x.shape, made, strict=False)) if a != b), None)
    if axis is not None and x.varying_axes() == [axis] and _swaps(node, axis):
        shuffled(walk, x.ids.reshape(-1), made[axis])
    if math.prod(made) != math.prod(x.shape):
        return rearrange(walk, node, given)
    x = identified(walk, x)
    note_split(walk, x, made, sizes_of(node), module_path(node))
    return Value(made, reshaped(x, made), _all_read_zero([x]), x.computed)


def rolled(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`roll`: along axes without channels nothing changes."""
    x, axes = given["self"], given["dims"]
    if axes and x.computed and not {axis % len(x.shape) for axis in axes} & set(x.varying_axes()):
        return Value(x.shape, x.ids, x.reads_zero)
    return rearrange(walk, node, given)


def as_another(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Into the shape of another tensor, of which nothing else is taken."""
    shape = torch.empty(given["other"].shape, device="meta")
    return reshape(walk, node, {**given, "other": shape})


def channel_shuffle(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """The same as one op."""
    if given["self"].varying_axes() == [1]:
        shuffled(walk, given["self"].ids.reshape(-1), int(given["groups"]))
    return rearrange(walk, node, given)


def shuffled(walk: Walk, ids: Ids, groups: int) -> None:
    """Position by position, tie the groups that a shuffle deals its channels out from."""
    if 1 < groups < len(ids):
        by_group = ids.reshape(groups, -1)
        walk.unite(by_group[:1], by_group)


def concatenate(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`cat`, along ids kept as small as they are."""
    parts = [value for value in given["tensors"] if value.shape != (0,)]
    rank = len(parts[0].shape)
    dim = int(given["dim"] or 0) % rank
    if any(axis != dim for value in parts for axis in value.varying_axes()):
        return rearrange(walk, node, given)
    line = np.concatenate([value.line(dim) for value in parts])
    ids = along(dim, rank, line) if len(np.unique(line)) > 1 else along(dim, rank, line[:1])
    return Value(tuple(node.meta["val"].shape), ids, _all_read_zero(parts))


def _swaps(node: fx.Node, axis: int) -> bool:
    """Does a view split `axis` in two that are swapped, and then merged again?"""
    shape = tuple(node.meta["val"].shape)
    before = node.args[0]
    if not isinstance(before, fx.Node) or len(shape) != len(before.meta["val"].shape) + 1:
        return False
    swap = _only_user(node)
    if swap is None or op_name(swap) not in ("transpose", "permute", "swapaxes"):
        return False
    order = list(range(len(shape)))
    order[axis], order[axis + 1] = axis + 1, axis
    if op_name(swap) == "permute":
        swapped = [int(a) % len(shape) for a in swap.args[1]] == order  # pyright: ignore
    else:
        swapped = {int(a) % len(shape) for a in swap.args[1:3]} == {axis, axis + 1}  # pyright: ignore
    merge = _only_user(swap)
    return swapped and merge is not None and tuple(merge.meta["val"].shape) == tuple(before.meta["val"].shape)


def _only_user(node: fx.Node) -> fx.Node | None:
    """The one op that reads a tensor, copies passed over."""
    users = list(node.users)
    if len(users) == 1 and op_name(users[0]) in ("contiguous", "clone"):
        return _only_user(users[0])
    return users[0] if len(users) == 1 else None


def _all_read_zero(values: list[Value]) -> bool:
    """Do masked channels read as zero in all tensors that have channels at all?"""
    return all(value.reads_zero for value in values if (value.ids != NO_ID).any())


def _with_own_ids(walk: Walk, argument: Any) -> Any:
    if isinstance(argument, Value):
        return identified(walk, argument)
    return (
        [_with_own_ids(walk, part) for part in argument] if isinstance(argument, list | tuple) else argument
    )


def _full_ids(argument: Any) -> Any:
    if isinstance(argument, Value):
        return argument.full()
    if isinstance(argument, list | tuple):
        return [_full_ids(part) for part in argument]
    return argument
