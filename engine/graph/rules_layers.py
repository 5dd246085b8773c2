"""Channel ids through the ops that hold weights: convolutions and linear layers."""

import math
from typing import Any

import numpy as np
from torch import fx

from .channels import NO_ID, Ids, Layer, LayerKind, Role
from .ids import Value, along, no_ids
from .nodes import op_name
from .walk import Arguments, Walk


def convolution(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A convolution makes new channels; a depthwise one passes its input's on, a grouped one ties groups."""
    x, weight, groups = given["input"], given["weight"], int(given["groups"] or 1)
    channel_axis = len(x.shape) - (len(weight.shape) - 2) - 1
    in_ids = walk.line(x, channel_axis)
    if in_ids is None:
        return walk.give_up(node, given.values(), "channels are mixed")
    if groups == x.shape[channel_axis] == weight.shape[0] and _is_one_kernel(node) and given["bias"] is None:
        return Value(tuple(node.meta["val"].shape), along(channel_axis, len(x.shape), in_ids), x.reads_zero)
    if weight.name is None:
        return walk.give_up(node, given.values(), "a weight that is no parameter")
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
    """The weight is (in, out / groups, ...); several groups are tied as those of a convolution are."""
    x, weight, groups = given["input"], given["weight"], int(given["groups"] or 1)
    channel_axis = len(x.shape) - (len(weight.shape) - 2) - 1
    in_ids = walk.line(x, channel_axis)
    if weight.name is None or in_ids is None:
        why = "channels are mixed" if in_ids is None else "a weight that is no parameter"
        return walk.give_up(node, given.values(), why)
    depthwise = 1 < groups == x.shape[channel_axis]
    if depthwise:
        out_ids = np.repeat(in_ids, weight.shape[1])
        walk.label(weight.name, 0, in_ids, Role.PRODUCES)
    else:
        walk.pin_unless_zero(x)
        walk.label(weight.name, 0, in_ids, Role.CONSUMES)
        _tied_across(walk, in_ids, groups)
        out_ids = np.tile(walk.owned(weight.name, 1, weight.shape[1]), groups)
    kind = "depthwise" if depthwise else "transposed"
    return _finish(walk, node, given, kind, in_ids, out_ids, channel_axis)


def deformable_convolution(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A convolution that reads its input where offsets say, which themselves have no channels."""
    x, weight, groups = given["input"], given["weight"], int(given["groups"])
    in_ids = walk.line(x, 1)
    if weight.name is None or in_ids is None:
        return walk.give_up(node, given.values(), "a weight that is no parameter")
    for place in (given["offset"], given["mask"]):
        walk.pin(place.ids, f"offsets at {walk.where()}")
    walk.pin_unless_zero(x)
    _tied_across(walk, in_ids, int(given["offset_groups"]))
    walk.label(weight.name, 1, _tied_across(walk, in_ids, groups), Role.CONSUMES)
    out_ids = walk.owned(weight.name, 0, weight.shape[0])
    _tied_across(walk, out_ids, groups)
    # Where the layer has no bias, torchvision makes zeros, as many as there are filters.
    bias = None if _is_zeros(node.args[4]) else given["bias"]
    given = {**given, "stride": (given["stride_h"], given["stride_w"]), "bias": bias}
    return _finish(walk, node, given, "conv", in_ids, out_ids, 1)


def linear(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A linear layer reads the last axis and makes new channels there.

    Channels on another axis, as where tokens are mixed channel by channel, stay.
    """
    x, weight = given["input"], given["weight"]
    if weight.name is None:
        return walk.give_up(node, given.values(), "a weight that is no parameter")
    in_ids = walk.line(x, -1)
    if in_ids is None:
        walk.pin(x.ids, f"what is mixed stands on another axis at {walk.where()}")
        x = Value(x.shape, no_ids(x.shape), x.reads_zero)
        in_ids, given = np.full(x.shape[-1], NO_ID), {**given, "input": x}
    walk.pin_unless_zero(x)
    walk.label(weight.name, 1, in_ids, Role.CONSUMES)
    return _finish(
        walk, node, given, "linear", in_ids, walk.owned(weight.name, 0, weight.shape[0]), len(x.shape) - 1
    )


def _tied_across(walk: Walk, ids: Ids, groups: int) -> Ids:
    """Tie position j of every group to position j of the first; returns the first group's ids."""
    by_group = ids.reshape(groups, -1)
    for row in by_group[1:]:
        walk.unite(by_group[0], row)
    return by_group[0]


def _is_one_kernel(node: fx.Node) -> bool:
    """Is the weight one kernel, spread over all channels by the code?"""
    weight = node.args[1]
    if not isinstance(weight, fx.Node) or op_name(weight) not in ("expand", "expand_as", "repeat", "tile"):
        return False
    source = weight.args[0]
    return isinstance(source, fx.Node) and source.meta["val"].dim() > 2 and source.meta["val"].shape[0] == 1


def _is_zeros(argument: object) -> bool:
    return isinstance(argument, fx.Node) and op_name(argument) in ("zeros", "new_zeros")


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
