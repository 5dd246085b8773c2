"""Head dimensions: where that was asked for, they leave instead of whole heads, the same of every head.

Queries and keys are summed over a dimension, so one leaves both; values and the layer behind them have
dimensions of their own. Code that views all heads as one tensor, and queries, keys and values too, keeps it
rectangular only if all of them lose the same places: what was viewed so is tied once the graph is walked.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from torch import fx

from ..modules.through import loses_head_dims
from .channels import NO_ID, Ids
from .ids import Value
from .records import Split
from .walk import Walk

HEADS, HEAD_DIMS = "heads", "head dimensions"


def note_split(walk: Walk, x: Value, made: tuple[int, ...], asked: Sequence[int], module: str) -> None:
    """Remember a view that takes the axis apart along which channels vary.

    Args:
        x: what is viewed.
        made: the new shape.
        asked: the new extents as the code gives them, as many of the last ones as there are.
        module: whose code it is.
    """
    if not loses_head_dims(walk.model) or len(varying := x.varying_axes()) != 1:
        return
    (axis,) = varying
    before = math.prod(x.shape[:axis])
    first = next((at for at in range(len(made)) if math.prod(made[:at]) == before and made[at] > 1), None)
    if first is None:
        return
    last = next((at for at in range(first, len(made)) if math.prod(made[first : at + 1]) == x.shape[axis]), 0)
    if last > first:
        written = len(asked) >= len(made) - last and asked[last - len(made)] != -1
        walk.splits.append(Split(x.ids.reshape(-1, made[last]), module, written))


def by_dimension(walk: Walk, value: Value, over: Sequence[int]) -> Value:
    """Queries, keys or values in a product: the heads, which lie along the axes `over`, get the same ids."""
    ids = walk.tied_along(value.ids, over)
    walk.bundles.update(dict.fromkeys(ids.ravel().tolist(), HEAD_DIMS))
    return Value(value.shape, ids, value.reads_zero, value.computed)


def tie_views(walk: Walk) -> None:
    """Tie what was viewed together, wherever head dimensions are in it."""
    marked = np.array(sorted(i for i, what in walk.bundles.items() if what == HEAD_DIMS), dtype=np.int64)

    def has_dims(split: Split) -> bool:
        return bool(np.isin(walk.pool.roots(split.ids), walk.pool.roots(marked)).any())

    splits = [split for split in walk.splits if has_dims(split)]
    for split in splits:
        _tie(walk, split.ids[:1], split.ids)
    for first, second in itertools.combinations([split for split in splits if split.written], 2):
        if (first.module, first.ids.shape[1]) == (second.module, second.ids.shape[1]):
            _tie(walk, first.ids[0], second.ids[0])  # one number says it of both


def _tie(walk: Walk, first: Ids, second: Ids) -> None:
    first, second = np.broadcast_arrays(first, second)
    known = (first != NO_ID) & (second != NO_ID)
    walk.pool.unite(first[known], second[known])


def sizes_of(node: fx.Node) -> list[int]:
    """The extents that a view is asked for; none where it is asked in another way."""
    given = [argument for argument in node.args[1:] if isinstance(argument, list | tuple)]
    return [size if isinstance(size, int) else NO_ID for size in given[-1]] if given else []
