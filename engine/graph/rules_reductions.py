"""Channel ids through ops that mix what lies along some axes: sums, means, maxima, norms, softmax.

What is mixed shares a fate: along an axis of channels it is all that makes one result. So channels stay where
they are mixed all together, and leave together where only a few are: the halves of a gate, a pool of maxima.
"""

from typing import Any

import torch
from torch import fx

from .ids import Value
from .rules_elementwise import elementwise
from .walk import Arguments, Walk, op_name

# What they make of zeros alone is not zero.
NEVER_ZERO = frozenset({"logsumexp", "all", "argmax", "argmin"})


def reduce(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Means, sums, maxima, norms: the axes they run over go, or keep one position."""
    if "other" in given:  # `max` and `min` of two tensors
        return elementwise(walk, node, given)
    x, made = given.get("self", given.get("x")), node.meta["val"]
    parts = list(made) if isinstance(made, list | tuple) else [made]
    if not isinstance(x, Value) or not all(isinstance(part, torch.Tensor) for part in parts):
        return walk.give_up(node, given.values(), "no rule for this op")
    dims = _dims(given.get("dim", given.get("axis")), len(x.shape))
    ids = walk.mixed(x, dims)
    if ids is None:
        return walk.give_up(node, given.values(), "channels are mixed")
    if not given.get("keepdim"):
        ids = ids.squeeze(tuple(dims))
    zero = x.reads_zero and op_name(node) not in NEVER_ZERO
    values = [Value(tuple(part.shape), ids, zero and i == 0) for i, part in enumerate(parts)]
    return values if isinstance(made, list | tuple) else values[0]


def softmax(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Nothing reads as zero behind it."""
    x = given["self"]
    ids = walk.mixed(x, [int(given["dim"]) % len(x.shape)])
    if ids is None:
        return walk.give_up(node, given.values(), "channels are mixed")
    return Value(x.shape, ids, reads_zero=False)


def _dims(given: Any, rank: int) -> list[int]:
    if given is None or given == []:
        return list(range(rank))
    return [int(dim) % rank for dim in ([given] if isinstance(given, int) else given)]
