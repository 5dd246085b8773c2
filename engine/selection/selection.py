"""Which channels leave: the groups that take part, what their channels are worth, and by one rate each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group, Ids, Role
from ..graph.filters import scored_layers
from .rates import match_names

Residual = Literal["internal", "coupled", "scatter"]

Scores = Mapping[str, ArrayLike]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """What an allocation decided.

    Attributes:
        removed: the channel ids that leave.
        counts: per group that took part, how many channels stay and how many there were.
        ignored: convolutions whose rates had no effect, because their groups are left alone.
        notes: where fewer channels leave than asked for, and why.
        refused: groups that cannot take part, and why, where an allocation knows more than the map.
    """

    removed: frozenset[int]
    counts: dict[str, tuple[int, int]]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: Mapping[str, str] | None = None


def check_choice(what: str, given: str, choices: Any) -> None:
    """Refuse a word that is none of those of a `Literal` type.

    Raises:
        AllocationError: names it, and those that there are.
    """
    known = get_args(choices)
    if given not in known:
        raise AllocationError(f"no {what} '{given}'; choose one of {', '.join(known)}")


def prunable_groups(
    channel_map: ChannelMap, residual: Residual = "internal", skip: Sequence[str] = ()
) -> tuple[Group, ...]:
    """The groups that take part: they have filters to score and a channel that may leave.

    Args:
        channel_map: of the network.
        residual: `internal` and `scatter` leave residual streams alone (in the map of a network opened for
            `scatter`, see `engine.graph.residual`, branches are none); in `coupled` a channel leaves its
            whole stream.
        skip: globs of group or convolution names; a group any of them matches is left alone.

    Returns:
        Groups in forward order.

    Raises:
        AllocationError: an unknown residual mode, or a glob that matches nothing.
    """
    check_choice("residual mode", residual, Residual)
    names = [name for group in channel_map.groups for name in dict.fromkeys((group.name, *group.producers))]
    skipped = {name for glob in skip for name in match_names(glob, names, "`skip`")}
    return tuple(
        group
        for group in channel_map.groups
        if group.producers
        and group.free.any()
        and (residual == "coupled" or not group.stream)
        and skipped.isdisjoint((group.name, *group.producers))
    )


def group_counts(groups: Iterable[Group], removed: Iterable[int]) -> dict[str, tuple[int, int]]:
    """Per group, how many channels stay when `removed` leave, and how many there are."""
    gone = frozenset(removed)
    return {
        group.name: (
            len(group.channels) - len(gone.intersection(group.channels.tolist())),
            len(group.channels),
        )
        for group in groups
    }


def channel_scores(channel_map: ChannelMap, group: Group, scores: Scores) -> NDArray[np.float64]:
    """Score a group's channels by the filters that produce them.

    A channel's score is the mean over its filters of score / layer mean, so that layers of one stream weigh
    the same. A group with one producer and one filter per channel keeps the scores as they are: no rounding
    changes their order.

    Args:
        channel_map: of the network.
        group: whose channels.
        scores: per layer name, scores_F.

    Returns:
        scores_C in the order of `group.channels`; infinite where no scored filter makes the channel.

    Raises:
        AllocationError: a producer without scores, of another width, or with scores that are not finite.
    """
    pieces = [
        (channel_map.layer(name).out_ids, _layer_scores(channel_map, name, scores))
        for name in group.producers
    ]
    return combine_scores(group.channels, pieces)


def combine_scores(channels: Ids, pieces: Sequence[tuple[Ids, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Merge the scores of several layers' filters into one score per channel; see `channel_scores`.

    Args:
        channels: distinct ids.
        pieces: per layer ids_F and scores_F; ids outside `channels` are passed over.

    Returns:
        scores_C; infinite for channels in no piece.
    """
    if len(pieces) > 1 or any(len(np.unique(ids)) < len(ids) for ids, _ in pieces):
        pieces = [(ids, scores_F / _scale(scores_F)) for ids, scores_F in pieces]
    ids = np.concatenate([ids for ids, _ in pieces])
    scores = np.concatenate([scores_F for _, scores_F in pieces])
    inside = np.isin(ids, channels)
    by_id = np.argsort(channels)
    places = by_id[np.searchsorted(channels, ids[inside], sorter=by_id)]
    sums = np.bincount(places, weights=scores[inside], minlength=len(channels))
    filters = np.bincount(places, minlength=len(channels))
    return np.divide(sums, filters, out=np.full(len(channels), np.inf), where=filters > 0)


def removal_order(group: Group, scores_C: NDArray[np.float64]) -> Positions:
    """Positions of a group's removable channels, smallest score first; of equal scores the lower index.

    Where layers make only some of the channels each, the best of every layer stays: none is left empty.
    """
    leaves_C = group.free & np.isfinite(scores_C)
    for part in group.parts:
        places = np.flatnonzero(np.isin(group.channels, part))
        if leaves_C[places].all():
            leaves_C[places[np.argmax(scores_C[places])]] = False
    order = np.argsort(scores_C, kind="stable")
    return order[leaves_C[order]]


def leaving(
    group: Group, order: Positions, wanted: int, min_channels: int
) -> tuple[Positions, tuple[str, ...]]:
    """The first `wanted` positions of a removal order that may leave, and a note where that is not all."""
    allowed = max(0, min(wanted, len(order), len(group.channels) - min_channels))
    if allowed == wanted:
        return order[:wanted], ()
    reason = "the others are pinned" if allowed == len(order) else "no fewer may stay"
    return order[:allowed], (f"{group.name}: {allowed} channels leave, not {wanted}: {reason}",)


def by_group_rates(
    channel_map: ChannelMap,
    groups: Sequence[Group],
    scores: Scores,
    rates: Sequence[float],
    *,
    keep: bool = False,
    min_channels: int = 1,
    ignored: tuple[str, ...] = (),
) -> Selection:
    """Remove a share of each group: int(rate * n) of n channels.

    Args:
        channel_map: of the network.
        groups: those that take part.
        scores: per layer name, scores_F.
        rates: per group the share removed, in [0, 1); with `keep` the share kept, in (0, 1].
        keep: int(rate * n) channels, at least one, are kept instead.
        min_channels: as many stay in every group.
        ignored: convolutions whose rates had no effect.

    Raises:
        AllocationError: missing scores, or such as do not go with the network.
    """
    removed: list[int] = []
    counts: dict[str, tuple[int, int]] = {}
    notes: tuple[str, ...] = ()
    for group, rate in zip(groups, rates, strict=True):
        n = len(group.channels)
        # The float product exactly as written: int(320 * (1 - 0.8)) is 63, and that is the papers' number.
        wanted = n - max(1, int(rate * n)) if keep else int(rate * n)
        leave, shortfall = np.array([], dtype=np.int64), ()
        if wanted:
            order = removal_order(group, channel_scores(channel_map, group, scores))
            leave, shortfall = leaving(group, order, wanted, min_channels)
        removed += group.channels[leave].tolist()
        counts[group.name] = (n - len(leave), n)
        notes += shortfall
    return Selection(frozenset(removed), counts, ignored, notes)


def differ(rates: Iterable[float]) -> bool:
    """Are they not all the same?"""
    return len(set(rates)) > 1


def agreed_rate(channel_map: ChannelMap, group: Group, rate_of: Mapping[str, float]) -> float:
    """The one rate of a group's convolutions; 0 where none is given.

    Raises:
        AllocationError: they have different ones; says which others may.
    """
    if differ(rate_of.values()):
        listed = ", ".join(f"{name} {rate:g}" for name, rate in rate_of.items())
        elsewhere = "".join(
            f"; '{other.name}', on the other side of {shortcut}, may have another"
            for shortcut, other in _neighbours(channel_map, group)
        )
        raise AllocationError(
            f"these layers lose the same channels, so their rates must be equal: {listed}; "
            f"give them one rate, or skip '{group.name}'{elsewhere}"
        )
    return next(iter(rate_of.values()), 0.0)


def _neighbours(channel_map: ChannelMap, group: Group) -> Iterator[tuple[str, Group]]:
    """The shortcuts with an index that a group's channels pass, each with the group on its other side."""
    for index in channel_map.indices:
        if channel_map.axes_of(index.name)[0].role is not Role.SELECTS:
            continue
        behind, before = (np.isin(ids, group.channels).any() for ids in (index.own_ids, index.target_ids))
        if behind == before:
            continue
        beyond = index.target_ids if behind else index.own_ids
        for other in channel_map.groups:
            if other.producers and np.isin(other.channels, beyond).any():
                yield index.name.rpartition(".")[0], other


def equal_scores(channel_map: ChannelMap) -> dict[str, NDArray[np.float64]]:
    """Scores that prefer no filter: enough to count what leaves, not to choose."""
    return {layer.name: np.ones(len(layer.out_ids)) for layer in scored_layers(channel_map)}


def _layer_scores(channel_map: ChannelMap, name: str, scores: Scores) -> NDArray[np.float64]:
    if name not in scores:
        raise AllocationError(
            f"there are no scores for '{name}'; score it, give it rate 0, or skip it: `skip` '{name}'"
        )
    scores_F = np.asarray(scores[name], dtype=np.float64)
    filters = len(channel_map.layer(name).out_ids)
    if scores_F.shape != (filters,):
        raise AllocationError(f"'{name}' has {filters} filters, and scores of shape {scores_F.shape}")
    if not np.isfinite(scores_F).all():
        raise AllocationError(f"the scores of '{name}' are not all finite numbers")
    return scores_F


def _scale(scores_F: NDArray[np.float64]) -> float:
    """A layer's mean score, by magnitude: dividing by it must not turn the order of negative scores round."""
    return float(np.abs(scores_F).mean()) or 1.0
