"""The positions of a layer's outputs that are looked at, in either half of the images."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from .affine import Affine, Layer
from .moments import Gathering, Halves, rows_of
from .program import Call
from .rectified import Wanted, seen_through_relu
from .unfolding import chunks, outputs, rows, steps_for

ENOUGH = 20  # positions per unknown above which some may be passed over


class Positions:
    """What a layer reads and should make there; from its activations, a part at a time."""

    def __init__(
        self,
        layer: Layer,
        inputs: Sequence[Tensor],
        wanted: Wanted,
        second_half: Sequence[Tensor],
        images: int,
        along: int,
    ) -> None:
        """Choose positions on a grid.

        Args:
            layer: a convolution or linear layer.
            inputs: batches of what it reads.
            wanted: what it should make of them, normalised.
            second_half: half_N batch by batch, see `moments.halves`.
            images: in all processes.
            along: about how many positions are looked at along each axis.
        """
        weight_GDO = layer.read().weight
        groups, self._width, outs = weight_GDO.shape
        self._empty = partial(Gathering, groups, self._width, outs, weight_GDO.device)
        self._call, self._kernel = layer.call, layer.kernel
        self._inputs, self._wanted, self._second_half = inputs, wanted, second_half
        first_NO = wanted.targets[0]
        spatial = first_NO.shape[2:] if layer.call.kind != "linear" else ()
        self._steps = _steps(layer.call, spatial, images, self._width, along)
        self._count = _count(spatial, self._steps) if spatial else first_NO[0].numel() // (groups * outs)

    def gathered(self) -> Halves:
        """The moments of inputs and targets, of all processes."""
        halves = self._empty(), self._empty()
        for half, rows_GPD, target_GPO, _ in self._parts(halves):
            half.add(rows_GPD, target_GPO)
        for half in halves:
            half.add_up()
        return halves

    def aimed_anew(self, halves: Halves, made: Affine) -> Halves:
        """The same with targets that a ReLU sees alike, and that a map meets better; see `rectified`."""
        halves = halves[0].without_targets(), halves[1].without_targets()
        for half, rows_GPD, target_GPO, floor_GPO in self._parts(halves):
            assert floor_GPO is not None
            assert made.intercept is not None
            rows_GPD = rows_GPD.double()
            made_GPO = rows_GPD @ made.weight + made.intercept[:, None]
            half.add_targets(rows_GPD, seen_through_relu(target_GPO, floor_GPO, made_GPO))
        for half in halves:
            half.add_up_targets()
        return halves

    def _parts(self, halves: Halves) -> Iterator[tuple[Gathering, Tensor, Tensor, Tensor | None]]:
        """Of which half it is, rows_GPD, what is wanted of them, and the floors."""
        call, wanted = self._call, self._wanted
        for batch, second_N in enumerate(self._second_half):
            later = rows_of(second_N, self._inputs[batch])
            for half, mine in zip(halves, (~later, later), strict=True):
                x_MC, target_MO = self._inputs[batch][mine], wanted.targets[batch][mine]
                floor_MO = None if wanted.floors is None else wanted.floors[batch][mine]
                for part in chunks(call, x_MC, self._width, self._count):
                    rows_GPD = rows(call, x_MC[part], self._kernel, self._steps)
                    target_GPO = outputs(call, target_MO[part], self._steps)
                    floor_GPO = None if floor_MO is None else outputs(call, floor_MO[part], self._steps)
                    yield half, rows_GPD, target_GPO, floor_GPO


def _steps(call: Call, spatial: Sequence[int], images: int, width: int, along: int) -> tuple[int, ...]:
    """Distances between the positions looked at: closer together where there would be too few."""
    steps = steps_for(spatial, along)
    while max(steps, default=1) > 1 and images * _count(spatial, steps) < ENOUGH * width:
        steps = tuple(max(1, step - 1) for step in steps)
    if call.kind == "transposed":  # an even distance would meet the same entries of the kernel every time
        steps = tuple(step - (step % 2 == 0) for step in steps)
    return steps


def _count(spatial: Sequence[int], steps: Sequence[int]) -> int:
    return math.prod(-(-extent // step) for extent, step in zip(spatial, steps, strict=True))
