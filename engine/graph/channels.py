"""The channel map: which ids index every axis of every tensor of a network, and which go together.

A *channel id* is an integer. Channels that must be removed together carry the same number, so removing one is
removing a number wherever it occurs. `NO_ID` marks positions that nothing can remove.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
LayerKind = Literal["conv", "depthwise", "transposed", "linear"]

NO_ID = -1
CHANNELS = "channels"  # what those of a group are, where they are nothing of attention


class Role(StrEnum):
    """What a labelled axis does with its channels."""

    PRODUCES = "produces"  # zeroed when its channel is masked: conv weight and bias, BN weight, bias and mean
    CONSUMES = "consumes"  # only sliced: a follower's input channels
    SCALES = "scales"  # only sliced: BN variance, which must stay positive
    SELECTS = "selects"  # the index of a shortcut: copies channels, or makes zeros


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of one tensor, one id per position."""

    dim: int
    ids: Ids
    role: Role


@dataclass(frozen=True, eq=False)
class IndexTensor:
    """A tensor of positions among `target_ids` (-1: a zero channel), one per channel of `own_ids`."""

    name: str
    values: Ids
    own_ids: Ids
    target_ids: Ids


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution or linear layer, in forward order.

    `positions` is how often the whole weight is applied per image, summed over calls (a conv's output
    pixels): its multiply-accumulates per image are `positions` times the number of weights.
    """

    name: str
    weight: str
    bias: str | None
    kind: LayerKind
    shape: tuple[int, ...]
    out_ids: Ids
    in_ids: Ids
    stride: tuple[int, ...]
    groups: int
    out_hw: tuple[int, ...]
    positions: int


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that are chosen together: `channels` are the distinct ids, in the order of the first producer.

    A group is a *stream* when outputs of several layers are added into it; `pinned` gives, per id that may
    never be removed, the reason. `producers` are the layers whose filters score its channels. `parts` are the
    channels of every layer that makes only some of them (as behind a concatenation): one of each must stay.
    `unit` says what each of them is: "channels", "heads" or "head dimensions" of attention.
    """

    name: str
    channels: Ids
    producers: tuple[str, ...]
    stream: bool
    pinned: Mapping[int, str]
    parts: tuple[Ids, ...] = ()
    unit: str = CHANNELS

    @property
    def free(self) -> NDArray[np.bool_]:
        """Per channel: may it be removed?"""
        return np.array([int(c) not in self.pinned for c in self.channels], dtype=bool)


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """Everything pruning needs to know about a network.

    Attributes:
        shapes: every entry of the state dict, in its order, aliases of tied tensors left out.
        parameters: the entries that are parameters (the others are buffers).
        axes: the labelled axes of each entry; entries that no channel indexes are absent.
        layers: convolutions and linear layers in forward order.
        groups: the choices there are, in the forward order of their first producers.
        indices: index tensors, whose *values* change when channels leave.
        ties: alias -> the name under which a shared tensor appears in `shapes`.
        pinned: id -> reason, for every id that may never be removed.
        opaque: module that is cut around -> its multiply-accumulates per image, whatever leaves elsewhere.
    """

    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]
    axes: Mapping[str, tuple[Axis, ...]]
    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    indices: tuple[IndexTensor, ...]
    ties: Mapping[str, str]
    pinned: Mapping[int, str]
    opaque: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def layer_names(self) -> Iterable[str]:
        """The layers' names in forward order."""
        return self._by_name.keys()

    def layer(self, name: str) -> Layer:
        """The layer called `name`."""
        return self._by_name[name]

    def ids_of(self, unit: str) -> Ids:
        """The channels of all groups that are of this kind; see `Group.unit`."""
        found = [group.channels for group in self.groups if group.unit == unit]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def axes_of(self, name: str) -> tuple[Axis, ...]:
        """The labelled axes of a state-dict entry, under whatever name a tied tensor is asked for."""
        return self.axes.get(self.ties.get(name, name), ())

    def pin(self, ids: Ids, reason: str) -> "ChannelMap":
        """The same map with more ids that may never be removed."""
        new = {int(i): reason for i in np.unique(ids) if i != NO_ID and int(i) not in self.pinned}
        groups = tuple(
            replace(g, pinned={**g.pinned, **{c: new[c] for c in g.channels.tolist() if c in new}})
            for g in self.groups
        )
        return replace(self, pinned={**self.pinned, **new}, groups=groups)

    @cached_property
    def _top_id(self) -> int:
        labelled = (axis.ids for axes in self.axes.values() for axis in axes)
        return max((int(ids.max(initial=NO_ID)) for ids in labelled), default=NO_ID)

    def removal_mask(self, removed: Iterable[int]) -> NDArray[np.bool_]:
        """A lookup table over ids: `mask[axis.ids]` says which positions leave. `NO_ID` never does."""
        mask = np.zeros(self._top_id + 2, dtype=bool)  # the last entry is where NO_ID = -1 looks
        mask[np.fromiter(removed, dtype=np.int64)] = True
        mask[NO_ID] = False
        return mask

    def kept(self, layer_name: str, removed: Iterable[int]) -> NDArray[np.int64]:
        """The positions of a layer's filters that stay."""
        return np.flatnonzero(~self.removal_mask(removed)[self.layer(layer_name).out_ids])
