"""Every group's channels taken out one after the other, in the order that can be made up for best.

Optimal Brain Surgeon for whole channels, on the inputs that the dense network has; see
`engine.algebra.elimination` for the sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..algebra.elimination import Course, eliminate, reader
from ..algebra.least_squares import RIDGE
from ..graph.channels import ChannelMap, Group
from ..graph.filters import filters_of
from .importance import fisher
from .moments import Gathering
from .program import Program
from .readers import Reading, readings
from .scan import watch
from .unfolding import chunks, rows, steps_for

POSITIONS = 144  # of one image, about, that are looked at
SHARES = (1 / 4, 1 / 2, 3 / 4, 7 / 8)  # of a group's channels, at which its compensated weights are kept


@dataclass(frozen=True, eq=False)
class GroupCourse:
    """The elimination of one group.

    Attributes:
        group: whose channels left.
        readings: the layers that made up for them.
        course: orders and errors in positions of `group.channels`; errors estimate twice the KL divergence.
        means: per reading mean_GD of its inputs, where its intercept follows.
    """

    group: Group
    readings: tuple[Reading, ...]
    course: Course
    means: tuple[Tensor | None, ...]


def courses(
    model: nn.Module,
    program: Program,
    channel_map: ChannelMap,
    groups: Sequence[Group],
    batches: Sequence[Tensor],
    *,
    ridge: float = RIDGE,
    seed: int = 0,
) -> dict[str, GroupCourse]:
    """Eliminate the channels of every group, each group for itself.

    Args:
        model: the network, in evaluation.
        program: of it, for batches of this size.
        channel_map: of it.
        groups: those to look at.
        batches: images_NCHW; in each process its share.
        ridge: see `engine.algebra.least_squares`.
        seed: of the labels that the importance is found with.
    """
    found = readings(model, program, channel_map, tuple(groups))
    every = {one.call.node: one for listed in found.values() for one in listed}
    axes = {one.own: -1 if one.call.kind == "linear" else 1 for one in every.values()}
    importance = fisher(program, batches, axes, seed)
    moments = _moments(program, list(every.values()), batches)
    made: dict[str, GroupCourse] = {}
    for group in groups:
        own = found[group.name]
        readers = []
        for one in own:
            weight_GDO = one.layer.read().weight
            grouped_GO = importance[one.own].reshape(weight_GDO.shape[0], -1)
            readers.append(
                reader(moments[one.call.node][0], weight_GDO, grouped_GO, one.inputs, one.channels, ridge)
            )
        wanted = widths_of_interest(len(group.channels))
        if readers:
            course = eliminate(readers, group.free.tolist(), wanted)
        else:
            course = _by_norm(model, channel_map, group)
        means = tuple(moments[one.call.node][1] for one in own)
        made[group.name] = GroupCourse(group, own, course, means)
    return made


def widths_of_interest(channels: int) -> list[int]:
    """How many of a group's channels are gone at the `SHARES`."""
    return sorted({max(1, round(share * channels)) for share in SHARES})


def _moments(
    program: Program, found: Sequence[Reading], batches: Sequence[Tensor]
) -> dict[fx.Node, tuple[Tensor, Tensor | None]]:
    """Layer -> gram_GDD of its inputs and, where it has an intercept, mean_GD; the Gram is centred then."""
    wanted = {one.call.node: one for one in found}
    gathered: dict[fx.Node, Gathering] = {}

    def gather(node: fx.Node, values: Mapping[fx.Node, Any]) -> None:
        one = wanted.get(node)
        if one is not None:
            if node not in gathered:
                gathered[node] = _nothing_yet(one)
            _take_in(gathered[node], one, values[one.call.x])

    with torch.no_grad():
        for images_NCHW in batches:
            watch(program, images_NCHW, gather)
    moments: dict[fx.Node, tuple[Tensor, Tensor | None]] = {}
    for node, one in wanted.items():
        intercept = one.layer.read().intercept is not None
        mine = gathered[node].add_up().moments(intercept)
        moments[node] = (mine.gram, mine.mean_a if intercept else None)
    return moments


def _nothing_yet(one: Reading) -> Gathering:
    weight_GDO = one.layer.read().weight
    return Gathering(weight_GDO.shape[0], weight_GDO.shape[1], 0, weight_GDO.device)


def _take_in(gathering: Gathering, one: Reading, x_NC: Tensor) -> None:
    """The inputs of one layer, of one batch; targets are not asked for."""
    call, weight_GDO = one.call, one.layer.read().weight
    steps = steps_for(call.node.meta["val"].shape[2:]) if call.kind != "linear" else ()
    for part in chunks(call, x_NC, weight_GDO.shape[1], POSITIONS):
        rows_GPD = rows(call, x_NC[part], one.layer.kernel, steps)
        gathering.add(rows_GPD, rows_GPD[..., :0])


def _by_norm(model: nn.Module, channel_map: ChannelMap, group: Group) -> Course:
    """Where no layer can make up for anything: small filters first, their squared norms as the error."""
    state = model.state_dict()
    norms_C = np.zeros(len(group.channels))
    for name in group.producers:
        layer = channel_map.layer(name)
        squares_F = filters_of(layer, state[layer.weight]).double().flatten(1).square().sum(1).cpu().numpy()
        for row, channel in enumerate(group.channels):
            norms_C[row] += squares_F[layer.out_ids == channel].sum()
    order = [int(c) for c in np.argsort(norms_C, kind="stable") if group.free[c]][: len(norms_C) - 1]
    return Course(tuple(order), tuple(np.cumsum(norms_C[order]).tolist()), {})
