"""From a layer to the sum that its outputs enter: what lies between is linear, and leads nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ..graph.nodes import op_name
from .program import UNCHANGED, Call, Norm, Program


@dataclass(frozen=True, eq=False)
class Path:
    """Where a layer's outputs go.

    Attributes:
        norm: the batch normalisation behind the layer, if it reads that layer alone.
        own: where the layer's outputs appear, normalised if they are.
        steps: the operations from there to the last sum, each with the input that lies on the path.
        sums: how many of them add another tensor.
        places: per output of the layer, its channel at the end.
    """

    norm: Norm | None
    own: fx.Node
    steps: tuple[tuple[fx.Node, fx.Node], ...]
    sums: int
    places: Tensor

    @property
    def end(self) -> fx.Node:
        """The last sum; without any, the layer's own output."""
        return self.steps[-1][0] if self.steps else self.own


def path_of(program: Program, call: Call, width: int) -> Path:
    """Follow the outputs of a layer, `width` channels, as long as nothing else reads them.

    Understood are batch normalisation directly behind the layer, additions, additions at an index (`Merge`)
    and expansions to the channels of a wider stream (`Expand`). The path ends with the last addition.
    """
    norm = _norm_behind(program, call)
    own = call.node if norm is None else norm.node
    at, places = own, torch.arange(width)
    walked: list[tuple[fx.Node, fx.Node]] = []
    found = (0, 0, places)  # steps up to the last sum, sums, places there
    sums = 0
    while (reader := _only_user(program, at)) is not None:
        moved = _moved(program, reader, at, places)
        if moved is None:
            break
        walked.append((reader, at))
        at, (places, adds) = reader, moved
        if adds:
            sums += 1
            found = (len(walked), sums, places)
    length, sums, places = found
    return Path(norm, own, tuple(walked[:length]), sums, places)


def others_at_end(program: Program, path: Path, values: Callable[[fx.Node], list[Any]]) -> list[Tensor]:
    """What all but the layer itself adds to the sum at the end of its path, batch by batch.

    Args:
        program: of the network.
        path: with at least one step.
        values: of the operations that lie beside the path.
    """
    beside = {
        source for node, on_path in path.steps for source in program.reads(node) if source is not on_path
    }
    known = {source: values(source) for source in sorted(beside, key=program.place.__getitem__)}
    made = []
    for batch in range(len(next(iter(known.values())))):
        present: dict[fx.Node, Any] = {source: listed[batch] for source, listed in known.items()}
        shape = (len(next(iter(present.values()))), *path.own.meta["val"].shape[1:])
        like = next(iter(present.values()))
        present[path.steps[0][1]] = like.new_zeros(shape)
        for node, _ in path.steps:
            present[node] = program.compute(node, present)
        made.append(present[path.end])
    return made


def _norm_behind(program: Program, call: Call) -> Norm | None:
    reader = _only_user(program, call.node)
    first = None if reader is None else _only_user(program, reader)
    norm = program.norms.get(first) if first is not None else None
    return norm if norm is not None and norm.x is call.node else None


def _only_user(program: Program, node: fx.Node) -> fx.Node | None:
    users = program.users[node]
    return users[0] if len(users) == 1 and users[0] in program.place else None


def _moved(program: Program, node: fx.Node, at: fx.Node, places: Tensor) -> tuple[Tensor, bool] | None:
    """Where the channels are behind one operation, and whether it adds another tensor; None: not linear."""
    op = op_name(node)
    if op in UNCHANGED:
        return places, False
    if op == "add" and _is_plain_sum(program, node, at):
        return places, True
    if op == "index_add" and node.args[1] == 1 and node.args[3] is at and node.args[2] in program.sources:
        return program.sources[node.args[2]].cpu()[places], True  # pyright: ignore[reportArgumentType]
    if op in ("pad", "constant_pad_nd") and _is_one_zero_channel(node):
        return places, False  # the zero channel of an expansion, which picks among these
    if op == "index" and node.args[0] is at:
        return _picked(program, node, places)
    return None


def _is_plain_sum(program: Program, node: fx.Node, at: fx.Node) -> bool:
    """Two different computed tensors, the one on the path as large as their sum, both with weight one."""
    operands = [argument for argument in node.args[:2] if isinstance(argument, fx.Node)]
    return (
        len(operands) == 2
        and operands[0] is not operands[1]
        and program.sources.keys().isdisjoint(operands)
        and bool(node.kwargs.get("alpha", 1) == 1)
        and node.meta["val"].shape == at.meta["val"].shape
    )


def _is_one_zero_channel(node: fx.Node) -> bool:
    rank, amounts = len(node.meta["val"].shape), list(node.args[1])  # pyright: ignore
    value = node.args[2] if op_name(node) == "constant_pad_nd" and len(node.args) > 2 else 0
    return amounts in ([0] * (2 * rank - 3) + [1], [0, 1]) and not value


def _picked(program: Program, node: fx.Node, places: Tensor) -> tuple[Tensor, bool] | None:
    """An expansion: `index` names for every output channel its input channel; the others get zeros."""
    picked: Any = node.args[1]
    pointer = picked[-1] if not any(picked[:-1]) else None
    if pointer not in program.sources:
        return None
    index = program.sources[pointer].cpu()
    found = [(index == place).nonzero().flatten() for place in places.tolist()]
    if any(len(one) != 1 for one in found):
        return None
    return torch.tensor([int(one) for one in found], dtype=torch.int64), False
