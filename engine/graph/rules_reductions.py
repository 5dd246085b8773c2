"""Channel ids through ops that mix what lies along some axes: sums, means, maxima, norms, softmax.

What is mixed shares a fate: along an axis of channels it is all that makes one result. So channels stay where
they are mixed all together, and leave together where only a few are: the halves of a gate, a pool of maxima.
A sum of all of them misses none that reads as zero.
"""

from typing import Any

import torch
from torch import fx

from .ids import Value
from .nodes import op_name
from .rules_elementwise import elementwise
from .walk import Arguments, Walk, unknown

# What they make of zeros alone is not zero.
NEVER_ZERO = frozenset({"logsumexp", "all", "argmax", "argmin"})
# To what they make, zeros add nothing, and how many there are does not matter.
ADDING_UP = frozenset({"sum", "norm", "linalg_vector_norm", "any", "count_nonzero"})


def reduce(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Means, sums, maxima, norms: the axes they run over go, or keep one position."""
    if "other" in given:  # `max` and `min` of two tensors
        return elementwise(walk, node, given)
    x, made = given.get("self", given.get("x")), node.meta["val"]
    parts = list(made) if isinstance(made, list | tuple) else [made]
    if not isinstance(x, Value) or not all(isinstance(part, torch.Tensor) for part in parts):
        return walk.give_up(node, given.values(), "no rule for this op")
    dims = _dims(given.get("dim", given.get("axis")), len(x.shape))
    if op_name(node) in ADDING_UP and x.reads_zero and _only_along(x, dims) and _order(given) > 0:
        return unknown(made)  # channels that leave are missed by nobody
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


def _only_along(x: Value, dims: list[int]) -> bool:
    """Are there channels, and do they all end here?"""
    axes = x.varying_axes()
    return bool(axes) and set(axes) <= set(dims)


def _order(given: Arguments) -> float:
    """Of a norm; that of order 0 counts, and below 0 zeros are all that matters."""
    orders = [given[name] for name in ("p", "ord") if given.get(name) is not None]
    return float(orders[0]) if orders else 2.0


def _dims(given: Any, rank: int) -> list[int]:
    if given is None or given == []:
        return list(range(rank))
    return [int(dim) % rank for dim in ([given] if isinstance(given, int) else given)]
