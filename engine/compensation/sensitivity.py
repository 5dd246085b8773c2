"""How much it costs to narrow each group: the KL divergence of the logits, measured with compensation.

SPDY, arXiv 2201.13096, section 3, and HALP, arXiv 2210.06659, choose widths by layer-wise scores under an
additive cost; here the score of a width is the divergence that it causes by itself.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ..events import Event, GroupMeasured
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
from .scan import Scan
from .streams import Batch, batch_size, equal_batches
from .unfolding import as_weight


@dataclass(frozen=True)
class Sensitivity:
    """What it costs to narrow one group, all others whole.

    Attributes:
        group: its name.
        order: channel ids, first to leave first.
        errors: estimate of twice the KL divergence after each has left.
        measured: channels gone -> KL divergence of the logits from the whole network's, nats per image; empty
            where only estimates are wanted.
    """

    group: str
    order: tuple[int, ...]
    errors: tuple[float, ...]
    measured: Mapping[int, float]

    def losses(self) -> NDArray[np.float64]:
        """Loss with 0, 1, 2, ... channels gone, never falling.

        Between what was measured, it goes with the elimination's error; beyond, in proportion to it.
        """
        errors_K = np.concatenate([[0.0], np.array(self.errors, dtype=np.float64)])
        if not self.measured:
            return errors_K / 2
        counts = sorted(self.measured)
        at = np.concatenate([[0.0], errors_K[counts]])
        losses = np.maximum.accumulate(np.concatenate([[0.0], [self.measured[k] for k in counts]]))
        inside = np.interp(errors_K, at, losses)
        beyond = losses[-1] * errors_K / max(at[-1], 1e-300)
        return np.maximum.accumulate(np.where(errors_K > at[-1], beyond, inside))


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

    Yields:
        `GroupMeasured`, once per group that is measured.
    """
    batches = equal_batches(images, batch_size(channel_map))
    with eval_mode(model):
        program = Program(model, inputs_like(batches[0]))
        starts = {group.name: first_touched(program, channel_map, group) for group in groups}
        forward = sorted(groups, key=lambda group: starts[group.name])
        found = courses(model, program, channel_map, forward, batches, seed=seed, weights=measure)
        whole = _Measure(program, channel_map, batches) if measure else None
        made: dict[str, Sensitivity] = {}
        for number, one in enumerate(found, 1):
            name = one.group.name
            measured = {} if whole is None else whole.losses(one, starts[name])
            order = tuple(int(one.group.channels[c]) for c in one.course.order)
            made[name] = Sensitivity(name, order, one.course.errors, measured)
            if measure:
                yield GroupMeasured(number, len(groups), name)
    return [made[group.name] for group in groups]


def work(channel_map: ChannelMap, groups: Sequence[Group], images: int) -> float:
    """Multiply-accumulates that measuring takes, about: from each group on, once per width and image."""
    passes = sum(len(widths_of_interest(len(group.channels))) for group in groups if group.free.any()) / 2
    return passes * images * count(channel_map).macs


def filter_losses(
    channel_map: ChannelMap, groups: Iterable[Group], found: Iterable[Sensitivity]
) -> dict[str, Tensor]:
    """Scores: what the network loses when a filter's channel leaves with all that leave earlier.

    Scores of different groups compare, and within a group their order is the elimination's, also in float32.
    What never left scores twice the last one.

    Args:
        channel_map: of the network.
        groups: those whose filters are scored.
        found: of each of them.

    Returns:
        Per convolution name, scores_F; nats per image.
    """
    worth: dict[int, float] = {}
    producers: dict[str, None] = {}
    for group, one in zip(groups, found, strict=True):
        producers |= dict.fromkeys(group.producers)
        at = np.float32(0)
        for channel, loss in zip(one.order, one.losses()[1:], strict=True):
            at = max(np.float32(loss), np.nextafter(at, np.float32(np.inf)))
            worth[channel] = float(at)
        left = max(2 * float(at), 1e-30)
        worth |= {int(channel): left for channel in group.channels if int(channel) not in worth}
    return {
        name: torch.tensor([worth.get(int(i), 0.0) for i in channel_map.layer(name).out_ids]).double()
        for name in producers
    }


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
