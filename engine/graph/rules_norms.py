"""Channel ids through norms: which statistics which channels share, and what therefore leaves together."""

from typing import Any

from torch import fx

from ..modules.through import goes_through
from .channels import Ids, Role
from .ids import Value, along
from .nodes import module_path, op_name
from .walk import Arguments, Walk

STATISTICS = "statistics over all channels at {}"


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

    One group of all channels leaves nothing whole: those stay, unless it was asked for that they may leave.
    """
    x, groups = given["input"], int(given["num_groups"])
    ids = walk.line(x, 1)
    if ids is None:
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    if groups == 1 and len(ids) > 1:
        _over_all(walk, node, ids)
    else:
        by_group = ids.reshape(groups, -1)
        walk.unite(by_group[:, :1], by_group)
        walk.fix(by_group.shape[1])
    _label(walk, given, ids)
    zero = x.reads_zero or given.get("weight") is not None or _narrows(walk, node)
    return Value(x.shape, along(1, len(x.shape), ids), zero)


def layer_norm(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Over the last axes: where channels are among them, they share their statistics and stay."""
    x = given["input"]
    first = len(x.shape) - len(given["normalized_shape"])
    if all(axis < first for axis in x.varying_axes()):
        return Value(x.shape, x.ids, x.reads_zero and given.get("bias") is None)
    known = op_name(node) == "layer_norm" or _narrows(walk, node)
    ids = walk.line(x, -1) if first == len(x.shape) - 1 and known else None
    if ids is None:
        walk.pin(x.ids, STATISTICS.format(walk.where()))
        return Value(x.shape, x.ids, reads_zero=False)
    _over_all(walk, node, ids)
    _label(walk, given, ids)
    zero = given.get("weight") is not None or _narrows(walk, node)
    return Value(x.shape, along(-1, len(x.shape), ids), zero)


def _over_all(walk: Walk, node: fx.Node, ids: Ids) -> None:
    """Statistics over all channels are no longer the same without one of them."""
    if not _narrows(walk, node):
        walk.pin(ids, STATISTICS.format(walk.where()))


def _narrows(walk: Walk, node: fx.Node) -> bool:
    """Was it asked for that channels leave through this very norm?"""
    return goes_through(walk.model.get_submodule(module_path(node)))


def _label(walk: Walk, given: Arguments, ids: Ids) -> None:
    for slot in ("weight", "bias", "running_mean", "running_var"):
        tensor = given.get(slot)
        if isinstance(tensor, Value) and tensor.name is not None:
            walk.label(tensor.name, 0, ids, Role.SCALES if slot == "running_var" else Role.PRODUCES)
        elif isinstance(tensor, Value):
            walk.pin(ids, f"a {slot} that is no parameter at {walk.where()}")
