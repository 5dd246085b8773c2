"""Which rule takes channel ids through which ATen op, and the rules of padding and of indices.

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
from .nodes import is_pointwise, op_name
from .opaque import opaque
from .rules_attention import rows_of_table, scaled_dot_product_attention
from .rules_elementwise import elementwise, prelu
from .rules_layers import convolution, deformable_convolution, linear, transposed_convolution
from .rules_moves import (
    as_another,
    channel_shuffle,
    concatenate,
    equal_parts,
    gated_halves,
    rearrange,
    reshape,
    rolled,
)
from .rules_norms import batch_norm, group_norm, layer_norm
from .rules_products import einsum, matrix_product, sum_of_products
from .rules_reductions import reduce, softmax
from .rules_sequences import embedding, recurrent, recurrent_cell
from .rules_windows import (
    along_one_axis,
    columns,
    from_columns,
    pixel_shuffle,
    same_channels,
    sample,
    unpool,
    windows,
)
from .walk import Arguments, Rule, Walk, unknown


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
    """New tensors (`zeros`, `ones_like`, ...), which take a size and no identity; assertions make none."""
    if isinstance(given.get("fill_value"), int | float):
        walk.fix(given["fill_value"])
    return unknown(node.meta.get("val"))


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


def index(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`x[:, index]`; an index of a shortcut or an expansion follows the channels it points to."""
    x, positions = given["self"], given["indices"]
    if _is_table(walk, x) and len(positions) == 1:
        return rows_of_table(walk, node, x)
    if all(p is None or _passes_by(x, axis, p) for axis, p in enumerate(positions)):
        return _picked(walk, node, given)
    axis, pointer = len(positions) - 1, positions[-1]
    alone = axis > 0 and all(p is None for p in positions[:-1]) and isinstance(pointer, Value)
    if not alone or pointer.name is None or not _is_renumbered(walk, pointer.name):
        return give_up(walk, node, given)
    sources = x.line(axis)
    if sources is None:
        return give_up(walk, node, given)
    walk.pin_unless_zero(x)
    # The last channel of x is the zero that -1 points to; it is no source.
    own = walk.owned(pointer.name, 0, pointer.shape[0], Role.SELECTS)
    walk.indices.setdefault(pointer.name, _index_tensor(walk, pointer.name, own, sources[:-1]))
    return Value(tuple(node.meta["val"].shape), along(axis, len(x.shape), own), reads_zero=True)


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


def _is_table(walk: Walk, x: Value) -> bool:
    """Is it a matrix of parameters that nothing has changed yet?"""
    return x.name is not None and len(x.shape) == 2 and walk.is_parameter(x.name)


def _passes_by(x: Value, axis: int, positions: Value) -> bool:
    """Do these positions say nothing about channels?"""
    whole = positions.name is None and (positions.ids == NO_ID).all()
    return whole and axis not in x.varying_axes()


def _picked(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Whichever positions are picked, along these axes the ids are the same."""
    x, dtypes = given["self"], [p.meta["val"].dtype for p in node.args[1] if isinstance(p, fx.Node)]  # pyright: ignore
    if any(dtype in (torch.bool, torch.uint8) for dtype in dtypes):
        return give_up(walk, node, given)
    anywhere = [None if p is None else torch.zeros(p.shape, dtype=torch.int64) for p in given["indices"]]
    ids = compress(node.target(x.full(), anywhere))  # pyright: ignore[reportCallIssue]
    return Value(tuple(node.meta["val"].shape), ids, x.reads_zero)


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
        deformable_convolution: "deform_conv2d",
        linear: "linear",
        recurrent: "lstm gru rnn_tanh rnn_relu",
        recurrent_cell: "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
        embedding: "embedding",
        batch_norm: "batch_norm instance_norm",
        group_norm: "group_norm",
        layer_norm: "layer_norm rms_norm",
        prelu: "prelu _prelu_kernel",
        same_channels: """
            dropout feature_dropout alpha_dropout native_dropout clone contiguous detach alias to _to_copy
            lift_fresh_copy max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices
            avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
            adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d
            upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
            _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d
            upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa""",
        unpool: "max_unpool2d max_unpool3d",
        sample: "grid_sampler grid_sampler_2d grid_sampler_3d",
        windows: "unfold",
        columns: "im2col",
        from_columns: "col2im",
        pixel_shuffle: "pixel_shuffle",
        channel_shuffle: "channel_shuffle native_channel_shuffle",
        equal_parts: "chunk split tensor_split",
        gated_halves: "glu",
        reshape: "view reshape _unsafe_view unflatten flatten",
        rolled: "roll",
        as_another: "view_as reshape_as expand_as",
        rearrange: """
            permute transpose t movedim squeeze unsqueeze expand slice select narrow
            split_with_sizes unbind stack index_select flip repeat repeat_interleave pixel_unshuffle
            swapaxes tile numpy_T""",
        concatenate: "cat concat concatenate",
        pad: "pad constant_pad_nd",
        along_one_axis: "cumsum cumprod sort topk cummax cummin",
        reduce: """
            mean sum amax amin max min median std var std_mean var_mean norm linalg_vector_norm logsumexp
            argmax argmin""",
        softmax: "softmax log_softmax _safe_softmax",
        scaled_dot_product_attention: "scaled_dot_product_attention",
        einsum: "einsum",
        matrix_product: "matmul mm bmm mv dot",
        sum_of_products: "addmm baddbmm",
        index: "index",
        index_add: "index_add",
        opaque: "opaque",
        made_of_nothing: """
            _assert_tensor_metadata _assert_async _assert_scalar
            zeros ones full empty new_zeros new_ones new_empty new_full zeros_like ones_like full_like
            arange""",
    }
)
