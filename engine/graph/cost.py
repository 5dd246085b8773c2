"""Multiply-accumulates and parameters, counted from the channel map alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .channels import ChannelMap, Ids, Layer


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear layer: its channels, MACs per image, and parameters (weight and bias)."""

    name: str
    in_: int
    out: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    out_hw: tuple[int, ...]
    macs: int
    params: int


@dataclass(frozen=True)
class Cost:
    """What one image costs, and what the network weighs.

    Attributes:
        macs: multiply-accumulates of convolutions and linear layers for one image; biases are not counted.
        params: every parameter, those of batch normalisations included.
        layers: convolutions and linear layers in forward order; `params` are weight and bias.
        opaque: modules whose code cannot be followed -> their MACs for one image, as they are in one run.
    """

    macs: int
    params: int
    layers: tuple[LayerCost, ...]
    opaque: Mapping[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how it was counted."""
        if not self.opaque:
            return ()
        share = sum(self.opaque.values()) / max(1, self.macs)
        return (
            f"code that cannot be followed keeps its channels: the MACs of {', '.join(self.opaque)}, "
            f"{100 * share:.1f}% of all, are those of one run",
        )


class Counter:
    """Counts one network again and again, for different sets of removed channels.

    Everything that does not depend on them is worked out once: `totals` is one look-up of all ids and one sum
    per axis.
    """

    def __init__(self, channel_map: ChannelMap):
        self._map = channel_map
        self._blank_mask = channel_map.removal_mask(())
        self._lines = _Lines()
        # Buffers count as layers' weights (a fixed blur), but not as parameters.
        weights = {
            self._stored(name) for layer in channel_map.layers for name in (layer.weight, layer.bias) if name
        }
        tensors = [name for name in channel_map.shapes if name in channel_map.parameters or name in weights]
        self._row = {name: row for row, name in enumerate(tensors)}
        self._fixed_T, self._line_TD = self._extents(tensors)
        self._learned_T = np.array([name in channel_map.parameters for name in tensors], dtype=np.int64)
        self._positions_T = np.zeros(len(tensors), dtype=np.int64)
        for layer in channel_map.layers:
            self._positions_T[self._row[self._stored(layer.weight)]] += layer.positions
        self._in_out = [
            (self._lines.add(layer.in_ids), self._lines.add(layer.out_ids)) for layer in channel_map.layers
        ]
        self._lines.close()
        self._opaque = sum(channel_map.opaque.values())

    def totals(self, removed: Iterable[int]) -> tuple[int, int]:
        """MACs per image and parameters with the channels `removed` gone."""
        sizes_T = self._sizes(self._kept_lengths(removed))
        return int(sizes_T @ self._positions_T) + self._opaque, int(sizes_T @ self._learned_T)

    def count(self, removed: Iterable[int] = ()) -> Cost:
        """Totals and every layer with the channels `removed` gone."""
        kept_L = self._kept_lengths(removed)
        sizes_T = self._sizes(kept_L)
        layers = [
            self._layer_cost(layer, int(kept_L[into]), int(kept_L[out]), sizes_T)
            for layer, (into, out) in zip(self._map.layers, self._in_out, strict=True)
        ]
        macs = int(sizes_T @ self._positions_T) + self._opaque
        return Cost(macs, int(sizes_T @ self._learned_T), tuple(layers), self._map.opaque)

    def _layer_cost(self, layer: Layer, in_: int, out: int, sizes_T: NDArray[np.int64]) -> LayerCost:
        weights = int(sizes_T[self._row[self._stored(layer.weight)]])
        biases = int(sizes_T[self._row[self._stored(layer.bias)]]) if layer.bias else 0
        kernel = layer.shape[2:]
        return LayerCost(
            layer.name,
            in_,
            out,
            kernel,
            layer.stride,
            layer.out_hw,
            weights * layer.positions,
            weights + biases,
        )

    def _extents(self, tensors: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Per tensor the product of its unlabelled extents, and the lines that index its labelled axes."""
        fixed_T = np.ones(len(tensors), dtype=np.int64)
        lines: list[list[int]] = []
        for row, name in enumerate(tensors):
            axes = {axis.dim: axis.ids for axis in self._map.axes.get(name, ())}
            extents = [extent for dim, extent in enumerate(self._map.shapes[name]) if dim not in axes]
            fixed_T[row] = np.prod(extents, dtype=np.int64)
            lines.append([self._lines.add(ids) for ids in axes.values()])
        depth = max((len(mine) for mine in lines), default=0)
        padded = [mine + [_Lines.ONE] * (depth - len(mine)) for mine in lines]
        return fixed_T, np.array(padded, dtype=np.int64).reshape(len(tensors), depth)

    def _kept_lengths(self, removed: Iterable[int]) -> NDArray[np.int64]:
        ids = removed if isinstance(removed, np.ndarray) else np.fromiter(removed, dtype=np.int64)
        mask = self._blank_mask.copy()
        mask[ids] = True
        return self._lines.kept_lengths(mask)

    def _sizes(self, kept_L: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._fixed_T * kept_L[self._line_TD].prod(axis=1)

    def _stored(self, name: str) -> str:
        return self._map.ties.get(name, name)


class _Lines:
    """Distinct rows of ids, end to end in one array; line 0 has length one and nothing removes it."""

    ONE = 0

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._rows: list[Ids] = [np.array([-1], dtype=np.int64)]

    def add(self, ids: Ids) -> int:
        """The number of this row of ids."""
        number = self._numbers.setdefault(ids.tobytes(), len(self._rows))
        if number == len(self._rows):
            self._rows.append(ids)
        return number

    def close(self) -> None:
        """No more rows: join them."""
        self._ids = np.concatenate(self._rows)
        lengths = np.array([len(row) for row in self._rows])
        self._starts = np.cumsum(lengths) - lengths

    def kept_lengths(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many ids of each row the removal mask leaves."""
        return np.add.reduceat(~mask[self._ids], self._starts, dtype=np.int64)


def count(channel_map: ChannelMap, removed: Iterable[int] = ()) -> Cost:
    """Count the network with the channels `removed` gone, without running it.

    A layer's MACs per image are the positions its weight is applied at times the number of its weights; the
    truly narrow network is counted, with both sides of every layer narrowed.

    Args:
        channel_map: of the network.
        removed: channel ids; none for the network as it is.
    """
    return Counter(channel_map).count(removed)
