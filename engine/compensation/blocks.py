"""Where a network can be cut between its blocks: places that all information passes as one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from ..graph.channels import ChannelMap
from ..graph.nodes import op_name
from .pairing import kept_outputs, sites
from .program import Program

# Operations that leave every channel where it is, where the number of channels stays.
POOLINGS = {
    "_adaptive_avg_pool2d",
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "max_pool2d",
    "max_pool2d_with_indices",
}
COPIES = {"alias", "clone", "contiguous", "detach", "dropout", "flatten", "mean", "view"}
SUMS = {"add", "index_add"}
SQUASHES = {
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mish",
    "relu",
    "selu",
    "silu",
}
CHANNELWISE = frozenset(
    {"_native_batch_norm_legit_no_training", "getitem", "sigmoid", "tanh"} | POOLINGS | COPIES | SQUASHES
)


@dataclass(frozen=True, eq=False)
class Block:
    """A part of a narrow network between two cuts, and what the full network computes at its end.

    Attributes:
        start, end: where its input and its output appear in the narrow network.
        nodes: its operations.
        target: where the full network computes the same as `end`.
        kept: which channels of the target are left.
        layers: names of the layers that it applies.
    """

    start: fx.Node
    end: fx.Node
    nodes: tuple[fx.Node, ...]
    target: fx.Node
    kept: Tensor
    layers: tuple[str, ...]


def blocks(
    dense: Program, thin: Program, channel_map: ChannelMap, gone: np.ndarray, differing: set[fx.Node]
) -> list[Block]:
    """The blocks of a narrow network that something changed in or ahead of, in forward order.

    The part that ends in the logits is none: they are not all that a network is asked for.

    Args:
        dense: of the full network.
        thin: of the narrow one.
        channel_map: of the full network.
        gone: the removal mask.
        differing: see `pairing.changed`.
    """
    of_full = _by_layers(dense)
    found: list[Block] = []
    start, before = thin.inputs[0], frozenset[str]()
    for layers, places in _by_layers(thin).items():
        pairs = zip(reversed(of_full.get(layers, [])), reversed(places), strict=False)
        known = ((full, at, _kept(dense, thin, channel_map, gone, full, at)) for full, at in pairs)
        full, end, kept = next((one for one in known if one[2] is not None), (None, None, None))
        if full is None or end is None or kept is None:
            continue
        if end in differing and layers > before:
            nodes = tuple(thin.nodes[thin.place.get(start, -1) + 1 : thin.place[end] + 1])
            names = tuple(call.layer for call in thin.calls if call.layer in layers - before)
            found.append(Block(start, end, nodes, full, kept, names))
        start, before = end, layers
    return found


def _by_layers(program: Program) -> dict[frozenset[str], list[fx.Node]]:
    """Where one tensor is all that anything behind reads, but for parameters; by the layers applied so far.

    Images and logits are no such places.
    """
    layer_at = {call.node: call.layer for call in program.calls}
    last = {
        node: max((program.place.get(user, len(program.nodes)) for user in users), default=-1)
        for node, users in program.users.items()
        if node in program.inputs or node in program.place
    }
    layers: frozenset[str] = frozenset()
    live: set[fx.Node] = set(program.inputs)
    found: dict[frozenset[str], list[fx.Node]] = {}
    for place, node in enumerate(program.nodes):
        layers |= {layer_at[node]} if node in layer_at else set()
        live = {one for one in live if last[one] > place} | {node}
        value = node.meta.get("val")
        if live == {node} and layers and isinstance(value, Tensor) and _is_per_image(value, program):
            found.setdefault(layers, []).append(node)
    found.pop(layers, None)  # the logits are at the end of these
    return found


def _is_per_image(value: Tensor, program: Program) -> bool:
    """Is the first axis that of images, and not that of windows or tokens?"""
    return value.dim() > 1 and value.shape[0] == program.samples


def _kept(
    dense: Program, thin: Program, channel_map: ChannelMap, gone: np.ndarray, full: fx.Node, narrow: fx.Node
) -> Tensor | None:
    """The channels that are left at a place between blocks, if that is known."""
    shapes = [node.meta["val"].shape for node in (full, narrow)]
    if shapes[0][2:] != shapes[1][2:]:  # channels stand elsewhere too, as in the midst of a shuffle
        return None
    widths = [shape[1] for shape in shapes]
    if widths[0] == widths[1]:
        return torch.arange(widths[0])
    site_of = {site.node: site for site, _ in sites(dense, thin)}
    waiting, seen = [full], {full}
    while waiting:
        at = waiting.pop()
        if at in site_of:
            kept = kept_outputs(channel_map, gone, site_of[at])
            return kept if kept is not None and len(kept) == widths[1] else None
        for source in dense.reads(at):
            value = source.meta.get("val")
            wide = isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == widths[0]
            through = op_name(at) in CHANNELWISE | SUMS and (wide or op_name(at) == "getitem")
            if through and source not in seen:
                seen.add(source)
                waiting.append(source)
    return None


def narrowed(values: Sequence[Tensor], kept: Tensor) -> Tensor:
    """All batches of a tensor of the full network, with the channels that are left."""
    together = torch.cat(list(values))
    return together.index_select(1, kept.to(together.device))
