"""Convolutions and linear layers as matrices: every output a product of a row of inputs and a weight matrix.

G is the number of groups, D the inputs that one output of a group reads, O the outputs of a group.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .program import Call

_ROW_BYTES = 1 << 27  # of unfolded inputs at once


def steps_for(spatial: Sequence[int], wanted: int = 10) -> tuple[int, ...]:
    """Distance between the output positions looked at, per axis, so that about `wanted` are left of each.

    Every third of 32, every second of 16, all of 8; always odd behind a transposed convolution, see
    `rows`.
    """
    return tuple(max(1, round(extent / wanted)) for extent in spatial)


def rows(call: Call, x_NC: Tensor, kernel: Sequence[int], steps: Sequence[int]) -> Tensor:
    """The inputs of every output position looked at.

    A transposed convolution is an ordinary one, its kernel turned round, on inputs that stand `stride` apart
    with zeros between.

    Args:
        call: the layer.
        x_NC: its input: channels on the second axis, for a linear layer on the last.
        kernel: extents of its kernel, empty for a linear layer.
        steps: from `steps_for`.

    Returns:
        rows_GPD in the dtype of `x_NC`; P positions of all images.
    """
    if call.kind == "linear":
        return x_NC.reshape(1, -1, x_NC.shape[-1])
    stride, padding = call.stride, call.padding
    if call.kind == "transposed":
        x_NC, padding = _spread(call, x_NC, kernel)
        stride = (1,) * len(kernel)
    x_NC = F.pad(x_NC, [amount for pair in reversed(padding) for amount in pair])
    for axis, (extent, gap) in enumerate(zip(kernel, call.dilation, strict=True), 2):
        x_NC = x_NC.unfold(axis, gap * (extent - 1) + 1, stride[axis - 2] * steps[axis - 2])[..., ::gap]
    batch, channels, *rest = x_NC.shape
    n = len(kernel)
    grouped = x_NC.reshape(batch, call.groups, channels // call.groups, *rest)
    axes = [1, 0, *range(3, 3 + n), 2, *range(3 + n, 3 + 2 * n)]
    return grouped.permute(axes).reshape(call.groups, -1, channels // call.groups * _product(kernel))


def outputs(call: Call, y_NO: Tensor, steps: Sequence[int]) -> Tensor:
    """outputs_GPO: a layer's outputs, or what they should be, at the positions of `rows`."""
    if call.kind == "linear":
        return y_NO.reshape(1, -1, y_NO.shape[-1])
    looked_at = y_NO[(slice(None), slice(None), *(slice(None, None, step) for step in steps))]
    moved = looked_at.movedim(1, -1)
    return moved.reshape(-1, call.groups, y_NO.shape[1] // call.groups).transpose(0, 1)


def chunks(call: Call, x_NC: Tensor, width: int, positions: int) -> Iterator[slice]:
    """Slices of a batch whose rows fit into memory: `width` inputs at `positions` per image."""
    images = max(1, _ROW_BYTES // max(1, 8 * width * call.groups * positions))
    return (slice(start, start + images) for start in range(0, len(x_NC), images))


def as_matrix(call: Call, weight: Tensor) -> Tensor:
    """weight_GDO of a layer's weight, whatever its kind."""
    if call.kind == "linear":
        return weight.T[None]
    if call.kind == "transposed":
        weight = _turned(weight, call.groups)
    return weight.reshape(call.groups, weight.shape[0] // call.groups, -1).transpose(1, 2)


def as_weight(call: Call, weight_GDO: Tensor, shape: Sequence[int]) -> Tensor:
    """A layer's weight of this shape, from the matrix that `as_matrix` makes."""
    if call.kind == "linear":
        return weight_GDO[0].T
    if call.kind != "transposed":
        return weight_GDO.transpose(1, 2).reshape(list(shape))
    inputs, outs, *kernel = shape
    turned = weight_GDO.transpose(1, 2).reshape(outs * call.groups, inputs // call.groups, *kernel)
    return _turned_back(turned, call.groups)


def _turned(weight: Tensor, groups: int) -> Tensor:
    """(C, O/G, ...) of a transposed convolution as (O, C/G, ...) of an ordinary one."""
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    swapped = split.transpose(1, 2).flatten(0, 1)
    return swapped.flip(list(range(2, swapped.dim())))


def _turned_back(weight: Tensor, groups: int) -> Tensor:
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    swapped = split.transpose(1, 2).flatten(0, 1)
    return swapped.flip(list(range(2, swapped.dim())))


def _spread(call: Call, x_NC: Tensor, kernel: Sequence[int]) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
    """The input with zeros between its positions, and the padding of the convolution that reads it."""
    extents = [(n - 1) * stride + 1 for n, stride in zip(x_NC.shape[2:], call.stride, strict=True)]
    spread_NC = x_NC.new_zeros(*x_NC.shape[:2], *extents)
    spread_NC[(slice(None), slice(None), *(slice(None, None, stride) for stride in call.stride))] = x_NC
    padding = []
    for k, gap, (before, after), extra in zip(
        kernel, call.dilation, call.padding, call.output_padding, strict=True
    ):
        reach = gap * (k - 1)
        padding.append((reach - before, reach - after + extra))
    return spread_NC, tuple(padding)


def _product(numbers: Sequence[int]) -> int:
    return int(torch.tensor(list(numbers)).prod()) if numbers else 1
