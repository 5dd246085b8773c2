"""One network walked through once, stopping on the way to see what it would say if something were changed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..modules.inputs import Call
from .program import Program

Shifts = Mapping[fx.Node, Tensor]


class Scan:
    """Batches of images, held at one place of a network: all values that are still needed behind it."""

    def __init__(self, program: Program, batches: Iterable[Tensor | Call]):
        """Before the first operation."""
        self.program = program
        self._at = 0
        self._values: list[dict[fx.Node, Any]] = [program.fed(given) for given in batches]
        nodes = program.nodes
        self._last = {
            node: max((program.place.get(user, len(nodes)) for user in users), default=-1)
            for node, users in program.users.items()
        }

    @torch.no_grad()
    def advance(self, place: int) -> None:
        """Run up to an operation, without it."""
        for values in self._values:
            self._run(values, self._at, place, {}, {})
        self._at = max(self._at, place)

    @torch.no_grad()
    def rest(self, changed: Mapping[fx.Node, Tensor], shifts: Shifts) -> list[list[Tensor]]:
        """What the network returns for every batch, from here on.

        Args:
            changed: parameters to compute with instead of the network's own.
            shifts: operation -> what is added to its result.
        """
        made = []
        for values in self._values:
            mine = dict(values)
            self._run(mine, self._at, len(self.program.nodes), changed, shifts)
            made.append([mine[node] for node in self.program.outputs])
        return made

    def _run(
        self,
        values: dict[fx.Node, Any],
        start: int,
        stop: int,
        changed: Mapping[fx.Node, Tensor],
        shifts: Shifts,
    ) -> None:
        for place in range(start, stop):
            node = self.program.nodes[place]
            made = self.program.compute(node, values, changed)
            values[node] = made + shifts[node] if node in shifts else made
            for source in {*self.program.reads(node)}:
                if self._last[source] <= place:
                    del values[source]


def watch(
    program: Program, given: Mapping[fx.Node, Any], seen: Callable[[fx.Node, Mapping[fx.Node, Any]], None]
) -> Mapping[fx.Node, Any]:
    """Run one batch, as `Program.fed` gives it, and return all values there are.

    `seen` is called with them ahead of every operation.
    """
    values: dict[fx.Node, Any] = dict(given)
    for node in program.nodes:
        seen(node, values)
        values[node] = program.compute(node, values)
    return values
