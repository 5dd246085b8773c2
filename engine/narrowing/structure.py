"""The first proof of a narrow network: its structure is as planned. The second is that of its `values`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from ..graph.channels import NO_ID, Ids
from ..graph.ids import Value
from ..graph.places import Reason
from ..graph.records import NodeRecord
from ..graph.trace import Trace


@dataclass(frozen=True, eq=False)
class Misfit:
    """A place where the narrow network is not what was planned: these ids cannot be removed."""

    ids: Ids
    reason: Reason


def structure_misfit(full: Trace, narrow: Trace, removed: Iterable[int]) -> Misfit | None:
    """Compare the narrow network's graph, tensor by tensor, with what is left of the full one's.

    Every surviving channel must arrive in its own place at every tensor of the graph and at every axis of
    every parameter: extents alone would let a shuffle that mixes up channels pass.

    Returns:
        None when they agree, else the first place where they do not.
    """
    removed = list(removed)
    gone = full.map.removal_mask(removed)
    acting, acting_narrow = _acting(full), _acting(narrow)
    if [r.op for r in acting] != [r.op for r in acting_narrow]:
        return Misfit(np.array(removed), _other_code(acting, acting_narrow))
    survivors = _correspondence(full, narrow, gone)
    # Ids that no parameter carries (zero channels written into the code) have no counterpart to compare.
    carried = np.unique(np.concatenate([axis.ids for axes in full.map.axes.values() for axis in axes]))
    # A head that is left alone is not told from attention without heads: none can be in another's place.
    alone = _alone(full, gone)

    def wrong(before: NodeRecord, after: NodeRecord) -> str:
        before_ids, after_ids = _patterns(before.value, after.value)
        expected = _left(np.where(np.isin(before_ids, carried), before_ids, NO_ID), gone)
        if not _agree(expected, survivors[after_ids].ravel(), alone):
            return "does not follow its channels"
        return "computes with the number of channels" if before.numbers != after.numbers else ""

    pairs = list(zip(acting, acting_narrow, strict=True))
    for number, (before, after) in enumerate(pairs):
        if what := wrong(before, after):
            behind = (pair for pair in pairs[number + 1 :] if _same_code(pair[0], before) and wrong(*pair))
            misfit = _misfit_at([before, *(pair[0] for pair in behind)], what)
            if gone[misfit.ids].any():
                return misfit
            return Misfit(_to_blame(full, before, gone), misfit.reason)
    for name, axes in full.map.axes.items():
        found_axes = {axis.dim: axis for axis in narrow.map.axes_of(name)}
        for axis in axes:
            expected = _left(axis.ids, gone)
            if axis.dim not in found_axes and len(expected) == 1:
                continue  # a single channel is not told from an axis that no channel indexes
            found = survivors[found_axes[axis.dim].ids] if axis.dim in found_axes else np.full(0, NO_ID)
            if not _agree(expected, found, alone):
                words = f"axis {axis.dim} of {name} is indexed by other channels when narrow"
                return Misfit(axis.ids, Reason(words))
    return None


def _alone(full: Trace, gone: np.ndarray) -> Ids:
    """The channels that are all that is left of their groups."""
    left = (_left(group.channels, gone) for group in full.map.groups)
    return np.array([int(ids[0]) for ids in left if len(ids) == 1], dtype=np.int64)


def _agree(expected: Ids, found: Ids, alone: Ids) -> bool:
    """Are these the same ids in the same places, where those that are alone may have none?"""
    if np.array_equal(expected, found):
        return True
    blank_expected, blank_found = (np.where(np.isin(ids, alone), NO_ID, ids) for ids in (expected, found))
    return np.array_equal(blank_expected, blank_found)


def _acting(traced: Trace) -> list[NodeRecord]:
    """The ops of a graph, less those that a tensor needs only where it does not lie in order already."""
    return [record for record in traced.records if record.op != "contiguous"]


def _other_code(full: Sequence[NodeRecord], narrow: Sequence[NodeRecord]) -> Reason:
    """The first op that only one of the two networks runs."""
    words = "the network runs other code when it is narrower"
    pairs = zip_longest(full, narrow)
    before = next((a for a, b in pairs if a and (b is None or a.op != b.op)), full[-1])
    return Reason(f"{words}: from {before.place}", before.place)


def _same_code(record: NodeRecord, other: NodeRecord) -> bool:
    """Is it the same line in another module of its kind? What fails in one block mostly fails in all."""
    alike = (record.op, record.line) == (other.op, other.line)
    return bool(record.line) and alike and record.module != other.module


def _misfit_at(records: Sequence[NodeRecord], what: str) -> Misfit:
    """At several places that run the same code; the first is named."""
    place = records[0].place
    where = f"{place.op} in {place.module or 'the top module'} {what}"
    reason = Reason(", ".join(filter(None, (where, place.line))), place)
    return Misfit(np.concatenate([record.value.ids.ravel() for record in records]), reason)


def _correspondence(full: Trace, narrow: Trace, gone: np.ndarray) -> Ids:
    """Lookup table: id of the narrow network -> id of the full one, by the producers they index."""
    top = 1 + max((int(a.ids.max(initial=0)) for axes in narrow.map.axes.values() for a in axes), default=0)
    top = max(top, 1 + max((int(r.value.ids.max(initial=0)) for r in narrow.records), default=0))
    table = np.full(top + 1, NO_ID, dtype=np.int64)
    for name, axes in full.map.axes.items():
        found_axes = {axis.dim: axis for axis in narrow.map.axes_of(name)}
        for axis in axes:
            kept, found = axis.ids[~gone[axis.ids]], found_axes.get(axis.dim)
            if found is not None and len(kept) == len(found.ids):
                unset = table[found.ids] == NO_ID
                table[found.ids[unset]] = kept[unset]
    table[NO_ID] = NO_ID
    return table


def _to_blame(full: Trace, record: NodeRecord, gone: np.ndarray) -> Ids:
    """The channels that left nearest to an op: of itself, of what it was made of, of what is made of it."""
    made = {other.name: other for other in full.records}
    following = [record]
    while following:
        layer = following
        while layer:
            ids = np.concatenate([other.value.ids.ravel() for other in layer])
            if gone[ids].any():
                return ids
            layer = _once(made[source] for other in layer for source in other.inputs if source in made)
        following = _once(reader for other in following for reader in full.readers[other.name])
    return record.value.ids.ravel()


def _once(records: Iterable[NodeRecord]) -> list[NodeRecord]:
    return list({record.name: record for record in records}.values())


def _left(ids: Ids, gone: np.ndarray) -> Ids:
    flat = ids.ravel()
    return flat[~gone[flat]]


def _patterns(before: Value, after: Value) -> tuple[Ids, Ids]:
    """The ids of both, spread along every axis that they vary along in either."""
    axes = {*before.varying_axes(), *after.varying_axes()}
    before_ids, after_ids = (
        np.broadcast_to(v.ids, [n if axis in axes else 1 for axis, n in enumerate(v.shape)])
        for v in (before, after)
    )
    return before_ids, after_ids
