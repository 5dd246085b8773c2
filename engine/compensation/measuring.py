"""How much it costs to narrow each group is measured: the KL divergence of the answers, with compensation.

SPDY, arXiv 2201.13096, section 3, and HALP, arXiv 2210.06659, choose widths by layer-wise scores under an
additive cost; here the score of a width is the divergence that it causes by itself.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..events import Event, GroupMeasured, Note
from ..graph.channels import ChannelMap, Group, Role
from ..graph.cost import count
from ..modules.eval_mode import eval_mode
from ..modules.inputs import inputs_like
from ..processes.distributed import add_up
from .affine import Affine
from .courses import GroupCourse, courses, widths_of_interest
from .divergence import divergence
from .program import Program
from .readers import Reading, first_touched
from .remembered import Remembered
from .scan import Scan
from .sensitivity import Sensitivity
from .streams import Batch, batch_size, equal_batches
from .unfolding import as_weight


def sensitivities(
    model: nn.Module,
    channel_map: ChannelMap,
    groups: Sequence[Group],
    images: Iterable[Batch],
    *,
    measure: bool = True,
    seed: int = 0,
) -> Generator[Event, None, list[Sensitivity]]:
    """Eliminate every group's channels and measure what a quarter, a half and more of them cost.

    Args:
        model: the full network; left as it is.
        channel_map: of it.
        groups: those that may be narrowed.
        images: batches images_NCHW; several processes give equal shares.
        measure: without, the elimination's errors stand for the divergence, and no further pass is run.
        seed: see `engine.compensation.importance`.

    What was found out at an earlier time, by a command that was cut short too, is not measured again; see
    `remembered`.

    Yields:
        `GroupMeasured`, once per group that is measured.
    """
    batches = equal_batches(images, batch_size(channel_map))
    with eval_mode(model):
        program = Program(model, inputs_like(batches[0]))
        memory = Remembered(program, batches, seed, measure)
        made = {group.name: known for group in groups if (known := memory.of(group)) is not None}
        if made:
            yield Note(f"what {len(made)} of {len(groups)} groups cost on these images was found out before")
        left = [group for group in groups if group.name not in made]
        for group, one in _measured(model, program, channel_map, left, batches, measure, seed):
            made[group.name] = one
            memory.keep(group, one)
            if measure:
                yield GroupMeasured(len(made), len(groups), group.name)
    return [made[group.name] for group in groups]


def _measured(
    model: nn.Module,
    program: Program,
    channel_map: ChannelMap,
    groups: Sequence[Group],
    batches: Sequence[Batch],
    measure: bool,
    seed: int,
) -> Iterator[tuple[Group, Sensitivity]]:
    if not groups:
        return
    starts = {group.name: first_touched(program, channel_map, group) for group in groups}
    forward = sorted(groups, key=lambda group: starts[group.name])
    whole = _Measure(program, channel_map, batches) if measure else None
    for one in courses(model, program, channel_map, forward, batches, seed=seed, weights=measure):
        group = one.group
        losses = {} if whole is None else whole.losses(one, starts[group.name])
        order = tuple(int(group.channels[c]) for c in one.course.order)
        yield group, Sensitivity(group.name, order, one.course.errors, losses)


def work(channel_map: ChannelMap, groups: Sequence[Group], images: int) -> float:
    """Multiply-accumulates that measuring takes, about: from each group on, once per width and image."""
    passes = sum(len(widths_of_interest(len(group.channels))) for group in groups if group.free.any()) / 2
    return passes * images * count(channel_map).macs


class _Measure:
    """Measures what widths cost, of one group after the other in forward order."""

    def __init__(self, program: Program, channel_map: ChannelMap, batches: Sequence[Batch]):
        self._program, self._map = program, channel_map
        self._base = Scan(program, batches).rest({}, {})
        self._images = int(add_up(torch.tensor(sum(map(len, batches)))))
        self._scan = Scan(program, batches)

    def losses(self, one: GroupCourse, start: int) -> dict[int, float]:
        """Channels gone -> divergence; `start` is the first operation that the group touches."""
        self._scan.advance(start)
        found: dict[int, float] = {}
        for gone in _counts(one):
            changed, shifts = _narrowed(self._program, self._map, one, gone)
            answers = self._scan.rest(changed, shifts)
            total = sum(divergence(own, other) for own, other in zip(self._base, answers, strict=True))
            found[gone] = float(add_up(torch.tensor(total, dtype=torch.float64))) / self._images
        return found


def _counts(one: GroupCourse) -> list[int]:
    return [k for k in widths_of_interest(len(one.group.channels)) if k <= len(one.course.order)]


def _narrowed(
    program: Program, channel_map: ChannelMap, one: GroupCourse, gone: int
) -> tuple[dict[fx.Node, Tensor], dict[fx.Node, Tensor]]:
    """Parameters and shifts with which the whole network computes as if the first `gone` channels had left.

    They are zeroed where they are produced, and the layers that read them have compensated weights.
    """
    removed = [int(one.group.channels[c]) for c in one.course.order[:gone]]
    mask = channel_map.removal_mask(removed)
    changed: dict[fx.Node, Tensor] = {}
    for node, name in program.names.items():
        for axis in channel_map.axes_of(name):
            rows = torch.from_numpy(np.flatnonzero(mask[axis.ids]))
            if axis.role is Role.PRODUCES and len(rows):
                tensor = changed.get(node, program.sources[node].detach())
                changed[node] = tensor.index_fill(axis.dim, rows.to(tensor.device), 0)
    shifts: dict[fx.Node, Tensor] = {}
    for reading, mean_GD, weight_GDO in zip(
        one.readings, one.means, one.course.weights.get(gone, ()), strict=False
    ):
        if weight_GDO is not None:
            _replace(program, reading, mean_GD, weight_GDO.double(), changed, shifts)
    return changed, shifts


def _replace(
    program: Program,
    reading: Reading,
    mean_GD: Tensor | None,
    weight_GDO: Tensor,
    changed: dict[fx.Node, Tensor],
    shifts: dict[fx.Node, Tensor],
) -> None:
    """Give one layer compensated weights; its mean output stays what it was."""
    call, whole = reading.call, reading.layer.read()
    stored = reading.layer.stored(Affine(weight_GDO, None))
    node = next(n for n, name in program.names.items() if name == call.weight)
    like = program.sources[node]
    weight = as_weight(call, stored.weight, like.shape).to(like)
    # Rows that were zeroed because their channels leave too stay zero.
    changed[node] = torch.where(changed[node] == 0, changed[node], weight) if node in changed else weight
    if mean_GD is not None and whole.intercept is not None:
        missing_O = (mean_GD[:, None] @ (whole.weight - weight_GDO)).flatten()
        shape = [1] * reading.own.meta["val"].dim()
        shape[-1 if call.kind == "linear" else 1] = -1
        shifts[reading.own] = missing_O.reshape(shape).to(like)
