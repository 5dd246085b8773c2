"""Channel ids through the ops that hold weights: convolutions, linear layers, batch normalisation."""

import math
from typing import Any

import numpy as np
from torch import fx

from .channels import Ids, Layer, LayerKind, Role
from .ids import Value, along
from .walk import Arguments, Walk


def convolution(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A convolution makes new channels; a depthwise one passes its input's on, a grouped one ties groups."""
    x, weight, groups = given["input"], given["weight"], int(given["groups"] or 1)
    channel_axis = len(x.shape) - (len(weight.shape) - 2) - 1
    in_ids = x.line(channel_axis)
    if weight.name is None or in_ids is None:
        return walk.give_up(
            node, given.values(), "a weight that is no parameter" if in_ids is not None else "mixed ids"
        )
    filters = weight.shape[0]
    if 1 < groups == x.shape[channel_axis]:
        kind, out_ids = "depthwise", np.repeat(in_ids, filters // groups)
        walk.label(weight.name, 0, out_ids, Role.PRODUCES)
    else:
        kind = "conv"
        walk.pin_unless_zero(x)
        walk.label(weight.name, 1, _tied_across(walk, in_ids, groups), Role.CONSUMES)
        out_ids = walk.owned(weight.name, 0, filters)
        _tied_across(walk, out_ids, groups)
    return _finish(walk, node, given, kind, in_ids, out_ids, channel_axis)


def transposed_convolution(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """The weight is (in, out / groups, ...); with several groups only the depthwise case is followed."""
    x, weight, groups = given["input"], given["weight"], int(given["groups"] or 1)
    channel_axis = len(x.shape) - (len(weight.shape) - 2) - 1
    in_ids = x.line(channel_axis)
    depthwise = 1 < groups == x.shape[channel_axis]
    if weight.name is None or in_ids is None or (groups > 1 and not depthwise):
        return walk.give_up(node, given.values(), "a grouped transposed convolution")
    if depthwise:
        out_ids = np.repeat(in_ids, weight.shape[1])
        walk.label(weight.name, 0, in_ids, Role.PRODUCES)
    else:
        walk.pin_unless_zero(x)
        walk.label(weight.name, 0, in_ids, Role.CONSUMES)
        out_ids = walk.owned(weight.name, 1, weight.shape[1])
    kind = "depthwise" if depthwise else "transposed"
    return _finish(walk, node, given, kind, in_ids, out_ids, channel_axis)


def linear(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A linear layer reads the last axis and makes new channels there."""
    x, weight = given["input"], given["weight"]
    in_ids = x.line(-1)
    if weight.name is None or in_ids is None:
        return walk.give_up(node, given.values(), "a weight that is no parameter, or ids over several axes,")
    walk.pin_unless_zero(x)
    walk.label(weight.name, 1, in_ids, Role.CONSUMES)
    return _finish(
        walk, node, given, "linear", in_ids, walk.owned(weight.name, 0, weight.shape[0]), len(x.shape) - 1
    )


def batch_norm(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Passes channels on; with an affine part a masked channel leaves it as zero, whatever came in."""
    x = given["input"]
    ids = x.line(1)
    if ids is None:
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    scaled = given.get("weight") is not None
    for slot in ("weight", "bias", "running_mean", "running_var"):
        tensor = given.get(slot)
        if isinstance(tensor, Value) and tensor.name is not None:
            walk.label(tensor.name, 0, ids, Role.SCALES if slot == "running_var" else Role.PRODUCES)
    return Value(x.shape, x.ids, x.reads_zero or scaled)


def _tied_across(walk: Walk, ids: Ids, groups: int) -> Ids:
    """Tie position j of every group to position j of the first; returns the first group's ids."""
    by_group = ids.reshape(groups, -1)
    for row in by_group[1:]:
        walk.unite(by_group[0], row)
    return by_group[0]


def _finish(
    walk: Walk,
    node: fx.Node,
    given: Arguments,
    kind: LayerKind,
    in_ids: Ids,
    out_ids: Ids,
    channel_axis: int,
) -> Value:
    """Label the bias, note the layer, and describe what it makes."""
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    made = tuple(node.meta["val"].shape)
    if isinstance(bias, Value) and bias.name is not None:
        walk.label(bias.name, 0, out_ids, Role.PRODUCES)
    elif bias is not None:
        walk.pin(out_ids, f"a bias that is no parameter at {walk.where()}")
    # A transposed convolution applies its weight once per *input* pixel.
    applied = x.shape if kind == "transposed" or "transpose" in str(node.target) else made
    # Whatever the code does to the batch axis, as windows do that are moved into it: all places, per image.
    positions = max(1, math.prod(applied) // applied[channel_axis] // walk.batch)
    walk.add_layer(
        Layer(
            name=weight.name.removesuffix(".weight"),
            weight=weight.name,
            bias=bias.name if isinstance(bias, Value) else None,
            kind=kind,
            shape=weight.shape,
            out_ids=out_ids,
            in_ids=in_ids,
            stride=tuple(given.get("stride") or ()),
            groups=int(given.get("groups") or 1),
            out_hw=made[channel_axis + 1 :] if kind != "linear" else (),
            positions=positions,
        )
    )
    return Value(made, along(channel_axis, len(made), out_ids))
