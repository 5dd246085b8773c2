"""Every group's channels taken out one after the other, in the order that can be made up for best.

Optimal Brain Surgeon for whole channels, on the inputs that the dense network has; see
`engine.algebra.elimination` for the sources.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..algebra.elimination import Course, LooseReader, Reader, eliminate, loose_reader, reader
from ..algebra.least_squares import RIDGE
from ..errors import CriterionError
from ..graph.channels import ChannelMap, Group
from ..graph.filters import filters_of
from .fitting import LARGEST_GRAM
from .importance import fisher
from .moments import Gathering, gram_bytes
from .program import Program
from .readers import Reading, readings
from .scan import watch
from .streams import Batch
from .unfolding import chunks, rows, steps_for

POSITIONS = 144  # of one image, about, that are looked at
AT_ONCE = 2 << 30  # bytes of second moments that are gathered in one pass
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
    batches: Sequence[Batch],
    *,
    ridge: float = RIDGE,
    seed: int = 0,
    weights: bool = True,
) -> Iterator[GroupCourse]:
    """Eliminate the channels of every group, each group for itself, in the order given.

    Args:
        model: the network, in evaluation.
        program: of it, for batches of this size.
        channel_map: of it.
        groups: those to look at.
        batches: images_NCHW; in each process its share.
        ridge: see `engine.algebra.least_squares`.
        seed: of the labels that the importance is found with.
        weights: are the weights wanted that make up for what is gone at the `SHARES`?

    Raises:
        CriterionError: activations that are not finite.
    """
    found = readings(model, program, channel_map, tuple(groups))
    every = {one.call.node: one for listed in found.values() for one in listed}
    axes = {one.own: -1 if one.call.kind == "linear" else 1 for one in every.values()}
    importance = fisher(program, batches, axes, seed)
    for together in _in_passes(groups, found):
        seen = {one.call.node: one for group in together for one in found[group.name]}
        moments = _moments(program, list(seen.values()), batches)
        for group in together:
            own = found[group.name]
            readers = [_reader(one, moments[one.call.node], importance[one.own], ridge) for one in own]
            wanted = widths_of_interest(len(group.channels)) if weights else ()
            if readers:
                course = eliminate(readers, group.free.tolist(), wanted)
            else:
                course = _by_norm(model, channel_map, group)
            means = tuple(moments[one.call.node].mean for one in own)
            yield GroupCourse(group, own, course, means)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Second moments of a layer's inputs.

    Attributes:
        gram: (G, D, D); centred where the layer has an intercept. Of a layer with too many inputs,
            (G, C, B, B), each channel's own.
        mean: (G, D), where it has an intercept.
    """

    gram: Tensor
    mean: Tensor | None


def _in_passes(
    groups: Sequence[Group], found: Mapping[str, Sequence[Reading]]
) -> Iterator[tuple[Group, ...]]:
    """As many groups at a time as have second moments that fit into memory together."""
    together: list[Group] = []
    size = 0
    for group in groups:
        mine = sum(_gram_bytes(one) for one in found[group.name] if not _is_large(one))
        if together and size + mine > AT_ONCE:
            yield tuple(together)
            together, size = [], 0
        together.append(group)
        size += mine
    yield tuple(together)


def _gram_bytes(one: Reading) -> int:
    groups, width, _ = one.layer.read().weight.shape
    return gram_bytes(groups, width)


def _is_large(one: Reading) -> bool:
    return _gram_bytes(one) > LARGEST_GRAM


def _reader(one: Reading, seen: _Seen, importance_O: Tensor, ridge: float) -> Reader | LooseReader:
    weight_GDO = one.layer.read().weight
    grouped_GO = importance_O.reshape(weight_GDO.shape[0], -1)
    if _is_large(one):
        return loose_reader(seen.gram, weight_GDO, grouped_GO, one.inputs, one.channels)
    return reader(seen.gram, weight_GDO, grouped_GO, one.inputs, one.channels, ridge)


def widths_of_interest(channels: int) -> list[int]:
    """How many of a group's channels are gone at the `SHARES`."""
    return sorted({max(1, round(share * channels)) for share in SHARES})


def _moments(program: Program, found: Sequence[Reading], batches: Sequence[Batch]) -> dict[fx.Node, _Seen]:
    """Layer -> what its inputs are like."""
    wanted = {one.call.node: one for one in found}
    gathered: dict[fx.Node, Gathering] = {}

    def gather(node: fx.Node, values: Mapping[fx.Node, Any]) -> None:
        one = wanted.get(node)
        if one is not None:
            if node not in gathered:
                gathered[node] = _nothing_yet(one)
            _take_in(gathered[node], one, values[one.call.x])

    with torch.no_grad():
        for given in batches:
            watch(program, program.fed(given), gather)
    return {node: _seen(one, gathered[node]) for node, one in wanted.items()}


def _seen(one: Reading, gathered: Gathering) -> _Seen:
    whole = one.layer.read()
    gathered.add_up()
    mine = gathered.moments(whole.intercept is not None)
    if not mine.gram.isfinite().all():
        raise CriterionError(
            f"what '{one.call.layer}' reads is not finite on some image: check the weights ahead of it"
        )
    if not _is_large(one):
        return _Seen(mine.gram, None if whole.intercept is None else mine.mean_a)
    groups, channels = whole.weight.shape[0], len(one.inputs)
    mean_GD = torch.zeros(whole.weight.shape[:2], dtype=torch.float64, device=mine.mean_a.device)
    mean_GD[:, one.inputs] = mine.mean_a.unflatten(0, (groups, channels))
    return _Seen(mine.gram.unflatten(0, (groups, channels)), None if whole.intercept is None else mean_GD)


def _nothing_yet(one: Reading) -> Gathering:
    """Of a layer with too many inputs, each channel of each group is a group by itself."""
    weight_GDO = one.layer.read().weight
    if _is_large(one):
        channels, own = one.inputs.shape
        return Gathering(weight_GDO.shape[0] * channels, own, 0, weight_GDO.device)
    return Gathering(weight_GDO.shape[0], weight_GDO.shape[1], 0, weight_GDO.device)


def _take_in(gathering: Gathering, one: Reading, x_NC: Tensor) -> None:
    """The inputs of one layer, of one batch; targets are not asked for."""
    call, weight_GDO = one.call, one.layer.read().weight
    steps = steps_for(call.node.meta["val"].shape[2:]) if call.kind != "linear" else ()
    for part in chunks(call, x_NC, weight_GDO.shape[1], POSITIONS):
        rows_GPD = rows(call, x_NC[part], one.layer.kernel, steps)
        if _is_large(one):
            rows_GPD = rows_GPD[..., one.inputs].movedim(2, 1).flatten(0, 1)
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
