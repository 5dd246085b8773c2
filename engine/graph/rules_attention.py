"""Channel ids through attention: a head leaves as a whole, with the rows of q, k and v that make it.

Products of computed tensors sum over a head's channels, which so are tied to each other and to the head;
see `rules_products`. What a masked head adds is its weights times values of zero. The scale is that of a
head's own width, which stays.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from .channels import NO_ID, Role
from .ids import Value, along
from .rules_products import matrix_product
from .walk import Arguments, Walk


def scaled_dot_product_attention(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Queries by keys, a mask, softmax, by values."""
    q, k, v, mask = (given[slot] for slot in ("query", "key", "value", "attn_mask"))
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return walk.give_up(node, given.values(), "heads that share their keys")
    turned = Value((*k.shape[:-2], k.shape[-1], k.shape[-2]), k.ids.swapaxes(-1, -2), k.reads_zero)
    scores = matrix_product(walk, node, {"queries": q, "keys": turned})
    scores = replace(scores, shape=(*q.shape[:-1], k.shape[-2]), reads_zero=False)
    if given.get("scale") is None:  # then it is that of the number of channels in a head
        classes = walk.pool.roots(q.ids)
        if (classes != classes[..., :1]).any():
            walk.pin(q.ids, f"a scale by the number of channels at {walk.where()}")
    if isinstance(mask, Value):
        _meets(walk, scores, mask)
    return matrix_product(walk, node, {"weights": scores, "values": v})


def rows_of_table(walk: Walk, node: fx.Node, table: Value) -> Value:
    """`table[rows]`, as of relative positions: a column for each head, wherever it is added."""
    assert table.name is not None
    made = tuple(node.meta["val"].shape)
    columns = walk.owned(table.name, 1, table.shape[1], Role.SCALES)
    return Value(made, along(-1, len(made), columns), reads_zero=False, computed=False)


def _meets(walk: Walk, scores: Value, mask: Value) -> None:
    """What is added to the scores has their heads, or is the same for all of them."""
    lead = (1,) * (len(scores.shape) - len(mask.shape))
    ids, extents = mask.ids.reshape(lead + mask.ids.shape), lead + mask.shape
    if (ids != NO_ID).any():
        walk.unite(*np.broadcast_arrays(scores.ids, ids))
    elif any(extents[axis] > 1 for axis in scores.varying_axes()):
        walk.pin(scores.ids, f"meets a mask without channel identity at {walk.where()}")
