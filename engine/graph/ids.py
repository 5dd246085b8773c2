"""Union-find over channel ids, and the id pattern of one tensor.

A tensor's id pattern has the tensor's rank; an axis along which the ids do not vary has extent 1, so the
pattern of a feature map is (1, C, 1, 1) whatever its batch and size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .channels import NO_ID, Ids

MANY = 256  # ids, from which on it is worth to look first which of them are different


class IdPool:
    """Hands out channel ids and unites them."""

    def __init__(self) -> None:
        # Of every id one of its class that is no larger, of a class's least itself; those to come are there
        # already. The last entry is where NO_ID = -1 looks.
        self._parents: Ids = np.full(1, NO_ID, dtype=np.int64)
        self._count = 0

    def new(self, count: int) -> Ids:
        """`count` ids that nobody has."""
        start, self._count = self._count, self._count + count
        if self._count >= len(self._parents):
            parents = np.arange(2 * self._count + 1, dtype=np.int64)
            parents[:start], parents[-1] = self._parents[:start], NO_ID
            self._parents = parents
        return np.arange(start, self._count, dtype=np.int64)

    def unite(self, first: Ids, second: Ids) -> None:
        """Make the ids equal, position by position; neither may hold `NO_ID`."""
        if first.size > MANY:  # a pattern over many places says the same of all of them
            first, second = self._different(first, second)
        parents = self._parents
        for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            root_a, root_b = self._root(a), self._root(b)
            # The smaller id wins, so a class is named by its first producer in forward order.
            parents[max(root_a, root_b)] = min(root_a, root_b)

    def roots(self, ids: Ids) -> Ids:
        """The class of every id; `NO_ID` stays `NO_ID`."""
        found = self._parents[ids]
        while not np.array_equal(above := self._parents[found], found):
            found = above
        self._parents[ids] = found  # the way is short the next time
        return found

    def _different(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        """The classes that are not one yet, each pair of them once."""
        classes, others = self.roots(first.ravel()), self.roots(second.ravel())
        apart = classes != others
        return np.divmod(np.unique(classes[apart] * self._count + others[apart]), max(1, self._count))

    def _root(self, i: int) -> int:
        parents = self._parents
        while (parent := int(parents[i])) != i:
            parents[i] = parents[parent]
            i = parent
        return i


@dataclass(frozen=True, eq=False)
class Value:
    """What the walk knows about one tensor.

    `reads_zero`: where a channel is masked at its producers, this tensor holds zeros. `computed` is False for
    parameters and buffers. `name` is the state-dict key of one that has not been touched yet.
    """

    shape: tuple[int, ...]
    ids: Ids
    reads_zero: bool = True
    computed: bool = True
    name: str | None = None

    def varying_axes(self) -> list[int]:
        """Axes along which the ids vary, or along which there is nothing."""
        return [axis for axis, extent in enumerate(self.ids.shape) if extent != 1]

    def line(self, axis: int) -> Ids | None:
        """One id per position of `axis`, or None where the ids vary along another axis too."""
        axis %= len(self.shape)
        if any(other != axis for other in self.varying_axes()):
            return None
        return np.broadcast_to(self.ids.reshape(-1), (self.shape[axis],)).copy()

    def full(self) -> torch.Tensor:
        """The ids of every element, as a stride-0 view."""
        return torch.from_numpy(self.ids).expand(self.shape)


def along(axis: int, rank: int, ids: Ids) -> Ids:
    """The id pattern of a tensor of `rank` axes whose ids vary along one of them."""
    pattern = [1] * rank
    pattern[axis % rank] = len(ids)
    return ids.reshape(pattern)


def no_ids(shape: tuple[int, ...]) -> Ids:
    """The id pattern of a tensor no channel indexes."""
    return np.full((1,) * len(shape), NO_ID, dtype=np.int64)


def compress(full: torch.Tensor) -> Ids:
    """The id pattern of a tensor of ids given element by element."""
    for axis in range(full.dim()):
        if full.stride(axis) == 0:
            full = full.narrow(axis, 0, min(1, full.shape[axis]))
    for axis in range(full.dim()):
        first = full.narrow(axis, 0, min(1, full.shape[axis]))
        if torch.equal(full, first.expand_as(full)):
            full = first
    return full.numpy().copy()


def reshaped(value: Value, made: tuple[int, ...]) -> Ids:
    """The id pattern of a tensor in another shape; what lies along axes without channels takes no room."""
    small, smaller = list[int](), list[int]()
    for before, after in _runs(value.shape, made):
        varies = any(value.ids.shape[axis] != 1 for axis in before)
        small += [value.shape[axis] if varies else 1 for axis in before]
        smaller += [made[axis] if varies else 1 for axis in after]
    return compress(torch.from_numpy(value.ids).expand(small).reshape(smaller))


def _runs(shape: tuple[int, ...], made: tuple[int, ...]) -> Iterator[tuple[range, range]]:
    """The shortest runs of axes of two shapes, in order, that hold as many elements each."""
    if 0 in shape:
        yield range(len(shape)), range(len(made))
        return
    start, start_made, stop, stop_made = 0, 0, 0, 0
    while stop < len(shape) or stop_made < len(made):
        size = math.prod(shape[start:stop]), math.prod(made[start_made:stop_made])
        if size[0] <= size[1] and stop < len(shape):
            stop += 1
        else:
            stop_made += 1
        if math.prod(shape[start:stop]) == math.prod(made[start_made:stop_made]):
            yield range(start, stop), range(start_made, stop_made)
            start, start_made = stop, stop_made


def several_classes(rows: Ids) -> bool:
    """Do ids fall into more than one class when those of each row are united?"""
    distinct, places = np.unique(rows, return_inverse=True)
    pool = IdPool()
    pool.new(len(distinct))
    for row in places.reshape(rows.shape):
        pool.unite(np.full_like(found := np.unique(row), found[0]), found)
    return len(np.unique(pool.roots(np.arange(len(distinct))))) > 1
