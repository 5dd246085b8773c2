"""Channel ids through pointwise ops: operands are united element by element."""

from typing import Any

import numpy as np
import torch
from torch import fx

from .channels import NO_ID, Ids, Role
from .ids import Value, no_ids
from .nodes import op_name
from .walk import Arguments, Walk, identified, values_in

RESIDUAL_OPS = frozenset({"add", "sub"})
CONDITIONS = frozenset({"mask", "condition"})  # arguments that must be truth values


def elementwise(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Unite the operands' ids; adding two computed tensors of one size makes a residual stream."""
    made = node.meta.get("val")
    if not isinstance(made, torch.Tensor):
        return walk.give_up(node, given.values(), "no rule for this op")
    shape = tuple(made.shape)
    operands = [identified(walk, value) for value in values_in(given.values())]
    zero = _reads_zero(walk, node, given, operands)
    patterns = [_align(value, len(shape)) for value in operands]
    varying = {axis for ids, _ in patterns for axis, extent in enumerate(ids.shape) if extent > 1}

    result, result_computed, result_extents = no_ids(shape), False, shape
    for value, (ids, extents) in zip(operands, patterns, strict=True):
        if any(extents[axis] == 1 < shape[axis] for axis in varying):
            walk.pin(ids, f"one channel is spread over many at {walk.where()}")
            continue
        if (ids == NO_ID).all():
            if any(extents[axis] > 1 for axis in varying):
                for other, _ in patterns:
                    walk.pin(other, f"meets a tensor without channel identity at {walk.where()}")
            continue
        if (result == NO_ID).all():
            result, result_computed, result_extents = ids, value.computed, extents
            continue
        # One number per channel, as a condition or a point in time is added, makes no stream.
        alike = extents == result_extents
        if op_name(node) in RESIDUAL_OPS and value.computed and result_computed and alike:
            _mark_stream(walk, result, ids)
        walk.unite(result, ids)
        a, b = np.broadcast_arrays(result, ids)
        result = np.where(a != NO_ID, a, b)
        result_computed |= value.computed
    return Value(shape, result, zero)


def prelu(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """One slope for all channels, or one per channel."""
    x, slope = given["self"], given["weight"]
    channels = x.line(1) if len(x.shape) > 1 else None
    if slope.shape[0] > 1:
        if slope.name is None or channels is None:
            return walk.give_up(node, given.values(), "slopes that do not go by channel")
        walk.label(slope.name, 0, channels, Role.SCALES)
    return Value(x.shape, x.ids, x.reads_zero)


def _align(value: Value, rank: int) -> tuple[Ids, tuple[int, ...]]:
    """Ids and extents with leading axes of one, as broadcasting adds them."""
    lead = (1,) * (rank - len(value.shape))
    return value.ids.reshape(lead + value.ids.shape), lead + value.shape


def _mark_stream(walk: Walk, first: Ids, second: Ids) -> None:
    """Two different channels are added: both belong to a residual stream."""
    a, b = np.broadcast_arrays(first, second)
    walk.stream_ids.update(np.concatenate([a[a != b], b[a != b]]).tolist())


def _reads_zero(walk: Walk, node: fx.Node, given: Arguments, operands: list[Value]) -> bool:
    """Ask the op itself: zeros where a masked operand reads zero, numbers elsewhere; is the result zero?"""
    samples = iter(
        torch.zeros(4) if value.reads_zero else torch.tensor([0.7, -1.3, 2.1, -0.2]) for value in operands
    )

    def sample(argument: Any) -> Any:
        if isinstance(argument, Value):
            return next(samples)
        return [sample(part) for part in argument] if isinstance(argument, list | tuple) else argument

    sampled = {name: sample(argument) for name, argument in given.items()}
    sampled |= {name: sampled[name].bool() for name in CONDITIONS & sampled.keys()}
    try:
        result = node.target(**sampled)  # pyright: ignore[reportCallIssue]
    except (RuntimeError, TypeError):  # an op that wants other types: assume the worst
        return False
    return isinstance(result, torch.Tensor) and bool((result == 0).all())
