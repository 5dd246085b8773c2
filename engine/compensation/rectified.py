"""Outputs that are only seen through a ReLU: what is wanted below zero is anything below zero.

Least squares on what a ReLU makes of a layer's outputs, after Zhang, Zou, He, Sun, "Accelerating Very Deep
Convolutional Networks for Classification and Detection", arXiv 1505.06798, section 3.2. Theirs alternates
between the outputs and the layer under a penalty that grows. Here the targets of each round are, below zero,
what the layer makes there already, cut off at zero: there is no penalty, and the second moments of the inputs
stay the same. The distance to the targets bounds the error behind the ReLU, and never grows from round to
round: the layer comes closer to the targets, then the targets to the layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ..graph.nodes import op_name
from .program import UNCHANGED, Program


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a layer's outputs should be, batch by batch.

    Attributes:
        targets: the values.
        floors: where all that reads them is a ReLU, the values at which that begins to see them: a target
            below its floor is met by anything below it. None where something else reads them.
    """

    targets: Sequence[Tensor]
    floors: Sequence[Tensor] | None = None


def seen_through_relu(target: Tensor, floor: Tensor, made: Tensor) -> Tensor:
    """What to aim at next, where a layer makes `made`: what lies below the floor and should, stays."""
    return torch.where(target > floor, target, torch.minimum(made.to(target), floor))


def rectified(program: Program, node: fx.Node) -> bool:
    """Is a ReLU all that reads a tensor?"""
    readers = program.users[node]
    return bool(readers) and all(
        _is_relu(reader) or (op_name(reader) in UNCHANGED and rectified(program, reader))
        for reader in readers
    )


def _is_relu(node: fx.Node) -> bool:
    """Is it a ReLU or cut off above, as ReLU6 is?"""
    op, least = op_name(node), node.args[1:2]
    return op in ("relu", "relu6") or (op in ("hardtanh", "clamp", "clamp_min") and least == (0,))
