"""The values of a network on a set of images, operation by operation, and only as long as they are needed."""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx

from ..graph.channels import ChannelMap
from ..graph.cost import count
from ..modules.inputs import Call, inputs_like
from .program import Program

Batch = Tensor | Call
OneKind = TypeVar("OneKind", bound=Batch)

BATCH = 64
LARGEST_BATCH = 1 << 30  # bytes of all that a network computes on it


def batch_size(channel_map: ChannelMap) -> int:
    """How many images may be looked at at once where all values of a network are kept, gradients too."""
    outputs = sum(layer.out * math.prod(layer.out_hw or (1,)) for layer in count(channel_map).layers)
    each = 4 * 4 * outputs  # float32; a layer, its norm, its activation, and gradients on their way
    return max(1, min(BATCH, LARGEST_BATCH // max(1, each)))


def equal_batches(images: Iterable[OneKind], size: int = BATCH) -> list[OneKind]:
    """All images in batches of one size, as an exported program wants them; a remainder is left out.

    Other calls stay as they are; those of another size than the first are left out.
    """
    given = list(images)
    calls = [one for one in given if isinstance(one, Call)]
    if calls:
        looks = str(inputs_like(calls[0]))
        return cast(list[OneKind], [call for call in calls if str(inputs_like(call)) == looks])
    together_NCHW = torch.cat([one for one in given if isinstance(one, Tensor)])
    count = -(-len(together_NCHW) // size)
    each = len(together_NCHW) // count
    return cast(list[OneKind], list(together_NCHW[: each * count].split(each)))


class Stream:
    """All batches of images on their way through one network.

    Every value is computed once, when it is asked for, and forgotten when nothing can ask for it again.
    """

    def __init__(
        self,
        program: Program,
        batches: Iterable[Batch],
        *,
        keep: Iterable[fx.Node] = (),
        before: Callable[[fx.Node], None] | None = None,
    ):
        """`keep` are tensors that stay until `release`; `before` is called ahead of every operation."""
        self.program = program
        fed = [program.fed(given) for given in batches]
        self._values: dict[fx.Node, list[Any]] = {node: [one[node] for one in fed] for node in program.inputs}
        self._batches = len(fed)
        self._pending = {node: len(users) for node, users in program.users.items()}
        self._kept: dict[fx.Node, int] = {}
        for node in keep:
            self._kept[node] = self._kept.get(node, 0) + 1
        self._done: set[fx.Node] = set(program.inputs)
        self._before = before

    @torch.no_grad()
    def at(self, node: fx.Node) -> list[Any]:
        """The value of one operation for every batch."""
        for needed in self._needed(node):
            if self._before is not None:
                self._before(needed)
            if needed not in self._done:  # whoever was called before may have asked for it
                self._compute(needed)
        return self._values[node]

    def release(self, node: fx.Node) -> None:
        """Nobody asks for this tensor by name any more."""
        self._kept[node] -= 1
        self._forget(node)

    def _needed(self, node: fx.Node) -> list[fx.Node]:
        found: set[fx.Node] = set()
        waiting = [node]
        while waiting:
            one = waiting.pop()
            if one not in self._done and one not in found:
                found.add(one)
                waiting += self.program.reads(one)
        return sorted(found, key=self.program.place.__getitem__)

    def _compute(self, node: fx.Node) -> None:
        inputs = list(self.program.reads(node))
        self._values[node] = [
            self.program.compute(node, {source: self._values[source][batch] for source in inputs})
            for batch in range(self._batches)
        ]
        self._done.add(node)
        for source in inputs:
            self._pending[source] -= 1
            self._forget(source)

    def _forget(self, node: fx.Node) -> None:
        if self._pending[node] <= 0 and self._kept.get(node, 0) <= 0:
            self._values.pop(node, None)
