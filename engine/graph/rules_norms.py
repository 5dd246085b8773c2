"""Channel ids through norms: which statistics which channels share, and what therefore leaves together."""

from typing import Any

from torch import fx

from .channels import Ids, Role
from .ids import Value, along
from .walk import Arguments, Walk


def batch_norm(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Batch and instance norms go by channel; with an affine part a masked channel leaves them as zero."""
    x = given["input"]
    ids = walk.line(x, 1)
    if ids is None:
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    _label(walk, given, ids)
    return Value(x.shape, along(1, len(x.shape), ids), x.reads_zero or given.get("weight") is not None)


def group_norm(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Each group of channels has statistics of its own, which stay true as long as it stays whole.

    One group of all channels leaves nothing whole: those stay.
    """
    x, groups = given["input"], int(given["num_groups"])
    ids = walk.line(x, 1)
    if ids is None:
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    if groups == 1 and len(ids) > 1:
        walk.pin(ids, f"statistics over all channels at {walk.where()}")
    else:
        by_group = ids.reshape(groups, -1)
        walk.unite(by_group[:, :1], by_group)
        walk.fix(by_group.shape[1])
    _label(walk, given, ids)
    return Value(x.shape, along(1, len(x.shape), ids), x.reads_zero or given.get("weight") is not None)


def layer_norm(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Over the last axes: where channels are among them, they share their statistics and stay."""
    x = given["input"]
    first = len(x.shape) - len(given["normalized_shape"])
    zero = x.reads_zero and given.get("bias") is None
    if all(axis < first for axis in x.varying_axes()):
        return Value(x.shape, x.ids, zero)
    walk.pin(x.ids, f"statistics over all channels at {walk.where()}")
    return Value(x.shape, x.ids, reads_zero=False)


def _label(walk: Walk, given: Arguments, ids: Ids) -> None:
    for slot in ("weight", "bias", "running_mean", "running_var"):
        tensor = given.get(slot)
        if isinstance(tensor, Value) and tensor.name is not None:
            walk.label(tensor.name, 0, ids, Role.SCALES if slot == "running_var" else Role.PRODUCES)
        elif isinstance(tensor, Value):
            walk.pin(ids, f"a {slot} that is no parameter at {walk.where()}")
