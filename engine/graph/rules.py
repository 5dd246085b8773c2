"""Which rule takes channel ids through which ATen op, and the rules of ops that only move elements.

A rule takes the walk, the node and its arguments by schema name, and returns the value (or values) made. An
op without a rule pins what comes in: it is never guessed at.
"""

from typing import Any

import numpy as np
import torch
from torch import fx

from ...archs.units import Expand, PadShortcut
from .channels import NO_ID, Ids, IndexTensor, Role
from .ids import Value, along, compress
from .rules_elementwise import elementwise, prelu
from .rules_layers import batch_norm, convolution, linear, transposed_convolution
from .walk import Arguments, Rule, Walk, identified, is_pointwise, op_name, unknown, values_in


def rule_for(node: fx.Node) -> Rule:
    """The rule of a node's op."""
    rule = RULES.get(op_name(node))
    if rule is not None:
        return rule
    return elementwise if is_pointwise(node.target) else give_up


def give_up(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """No rule: pin what comes in."""
    return walk.give_up(node, given.values(), "no rule for this op")


def made_of_nothing(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """New tensors (`zeros`, `ones_like`, ...): what they are made like gives them a size, not an identity."""
    return unknown(node.meta.get("val"))


def same_channels(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Copies, pooling, resizing: spatial extents may change, channels stay, and zeros stay zeros."""
    x = given.get("self", given.get("input"))
    made = node.meta.get("val")
    first, *others = made if isinstance(made, list | tuple) else (made,)
    if (
        not isinstance(x, Value)
        or first is None
        or any(x.shape[axis] != first.shape[axis] for axis in x.varying_axes())
    ):
        return walk.give_up(node, given.values(), "an axis that channels vary along changes its extent")
    value = Value(tuple(first.shape), x.ids, x.reads_zero)
    return [value, *map(unknown, others)] if isinstance(made, list | tuple) else value


def rearrange(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Run the op on a tensor of ids: it says itself where each one goes."""
    given = {name: _with_own_ids(walk, argument) for name, argument in given.items()}
    values = values_in(given.values())
    moved = {name: _full_ids(argument) for name, argument in given.items()}
    try:
        made = node.target(**moved)  # pyright: ignore[reportCallIssue]
    except (RuntimeError, TypeError, IndexError):
        return give_up(walk, node, given)
    zero, computed = _all_read_zero(values), any(v.computed for v in values)
    if isinstance(made, torch.Tensor):
        return Value(tuple(made.shape), compress(made), zero, computed)
    return [Value(tuple(part.shape), compress(part), zero, computed) for part in made]


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


def pad(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Padding. Channels written into the code as literal zeros can never leave: they get pinned ids."""
    x, amounts = given["self"], list(given["pad"])
    if given.get("mode", "constant") != "constant":
        mixes = any(amounts[2 * i] or amounts[2 * i + 1] for i in range(len(amounts) // 2) if _varies(x, i))
        return (
            give_up(walk, node, given) if mixes else Value(tuple(node.meta["val"].shape), x.ids, x.reads_zero)
        )
    ids = x.ids
    for i in range(len(amounts) // 2):
        before, after = amounts[2 * i], amounts[2 * i + 1]
        axis = len(x.shape) - 1 - i
        if (before or after) and (_varies(x, i) or (axis == 1 and (ids != NO_ID).any())):
            ids = _pad_ids(
                walk,
                np.repeat(ids, x.shape[axis], axis) if ids.shape[axis] == 1 else ids,
                axis,
                before,
                after,
            )
    zero = x.reads_zero and not given.get("value")
    return Value(tuple(node.meta["val"].shape), ids, zero)


def reduce(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Means and sums: over space channels survive, over channels they are mixed."""
    x, dims = given["self"], given.get("dim")
    made = node.meta["val"]
    if not isinstance(made, torch.Tensor):
        return give_up(walk, node, given)
    dims = [d % len(x.shape) for d in ([dims] if isinstance(dims, int) else dims or range(len(x.shape)))]
    if any(axis in dims for axis in x.varying_axes()):
        return walk.give_up(node, given.values(), "channels are mixed")
    ids = x.ids if given.get("keepdim") else x.ids.squeeze(tuple(dims))
    return Value(tuple(made.shape), ids, x.reads_zero)


def softmax(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Mixes the axis it runs over; nothing reads as zero behind it."""
    x, dim = given["self"], int(given["dim"])
    if dim % len(x.shape) in x.varying_axes():
        return walk.give_up(node, given.values(), "channels are mixed")
    return Value(x.shape, x.ids, reads_zero=False)


def index(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`x[:, index]`; an index of a shortcut or an expansion follows the channels it points to."""
    x, positions = given["self"], given["indices"]
    pointer = positions[1] if len(positions) == 2 and positions[0] is None else None
    if not isinstance(pointer, Value) or pointer.name is None or not _is_renumbered(walk, pointer.name):
        return give_up(walk, node, given)
    sources = x.line(1)
    if sources is None:
        return give_up(walk, node, given)
    walk.pin_unless_zero(x)
    # The last channel of x is the zero that -1 points to; it is no source.
    own = walk.owned(pointer.name, 0, pointer.shape[0], Role.SELECTS)
    walk.indices.setdefault(pointer.name, _index_tensor(walk, pointer.name, own, sources[:-1]))
    return Value(tuple(node.meta["val"].shape), along(1, len(x.shape), own), reads_zero=True)


def index_add(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A narrow branch added into a full stream: the branch's channels are free, the stream's are pinned."""
    stream, branch, pointer, dim = given["self"], given["source"], given["index"], int(given["dim"])
    own, targets = branch.line(dim), stream.line(dim)
    if pointer.name is None or own is None or targets is None:
        return give_up(walk, node, given)
    walk.pin(targets, f"a scattered branch is added at {walk.where()}")
    walk.pin_unless_zero(branch)
    walk.label(pointer.name, 0, own, Role.CONSUMES)
    walk.indices.setdefault(pointer.name, _index_tensor(walk, pointer.name, own, targets))
    return Value(stream.shape, stream.ids, stream.reads_zero and branch.reads_zero)


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


def _varies(x: Value, axis_from_the_end: int) -> bool:
    return len(x.shape) - 1 - axis_from_the_end in x.varying_axes()


def _pad_ids(walk: Walk, ids: Any, axis: int, before: int, after: int) -> Any:
    """Pad (or, with negative amounts, crop) an id pattern along one axis with pinned ids."""
    extent = ids.shape[axis]
    ids = ids.take(range(max(0, -before), extent - max(0, -after)), axis)
    for count, at_front in ((max(0, before), True), (max(0, after), False)):
        fresh = along(axis, ids.ndim, walk.pool.new(count))
        walk.pin(fresh, f"a zero channel written into the code at {walk.where()}")
        fresh = np.broadcast_to(fresh, [count if a == axis else n for a, n in enumerate(ids.shape)])
        ids = np.concatenate([fresh, ids] if at_front else [ids, fresh], axis)
    return ids


def _is_renumbered(walk: Walk, key: str) -> bool:
    """Is it an index of ours, in which -1 is a zero channel, and whose values surgery changes?"""
    return isinstance(walk.model.get_submodule(key.rpartition(".")[0]), Expand | PadShortcut)


def _index_tensor(walk: Walk, name: str, own: Ids, targets: Ids) -> IndexTensor:
    return IndexTensor(name, walk.model.get_buffer(name).cpu().numpy().copy(), own, targets)


def _rules(table: dict[Rule, str]) -> dict[str, Rule]:
    return {name: rule for rule, names in table.items() for name in names.split()}


RULES: dict[str, Rule] = _rules(
    {
        convolution: "conv1d conv2d conv3d",
        transposed_convolution: "conv_transpose1d conv_transpose2d conv_transpose3d",
        linear: "linear",
        batch_norm: "batch_norm instance_norm",
        prelu: "prelu _prelu_kernel",
        same_channels: """
            dropout feature_dropout alpha_dropout native_dropout clone contiguous detach alias to _to_copy
            lift_fresh_copy max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d
            avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
            adaptive_max_pool2d upsample_nearest1d upsample_nearest2d _upsample_nearest_exact2d
            upsample_linear1d upsample_bilinear2d upsample_bicubic2d""",
        rearrange: """
            view view_as reshape flatten unflatten permute transpose t movedim squeeze unsqueeze expand
            expand_as slice select narrow chunk split split_with_sizes tensor_split unbind stack index_select
            flip roll repeat _unsafe_view pixel_shuffle pixel_unshuffle channel_shuffle swapaxes tile
            numpy_T""",
        concatenate: "cat concat concatenate",
        pad: "pad constant_pad_nd",
        reduce: "mean sum amax amin std var",
        softmax: "softmax log_softmax",
        index: "index",
        index_add: "index_add",
        made_of_nothing: """
            zeros ones full empty new_zeros new_ones new_empty new_full zeros_like ones_like full_like
            arange""",
    }
)
