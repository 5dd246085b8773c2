"""What a dead channel leaves behind: nothing, a constant that a bias can take over, or more than that."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..graph.channels import NO_ID, Ids
from ..graph.filters import scored_convolutions
from ..graph.normalisation import batch_norms, followers, layer_calls
from ..graph.records import NodeRecord
from ..graph.trace import Trace

Levels = NDArray[np.int8]  # per id, one of the four below

ABSENT, ZERO, CONSTANT, VARIES = -1, 0, 1, 2

_MOVES_ZEROS_IN = frozenset({"pad", "constant_pad_nd", "avg_pool1d", "avg_pool2d", "avg_pool3d"})
_NORMALISE = frozenset({"batch_norm", "instance_norm"})
_SLOPED = frozenset({"prelu", "_prelu_kernel"})
_JOINS = frozenset({"cat", "concat", "concatenate", "stack"})


@dataclass(frozen=True, eq=False)
class Remains:
    """Which channels may die behind their producers' BN, and who takes what is left of them.

    Attributes:
        alive: id -> why the network without this channel would not be the network with it at zero.
        takers: layer -> ids that it may read as a constant, which goes into its bias.
    """

    alive: Mapping[int, str]
    takers: Mapping[str, Ids]


def remains(model: nn.Module, traced: Trace) -> Remains:
    """Follow every channel, zero wherever a convolution's BN has made it, through the network.

    A zero channel stays zero through ReLU and gates; the bias of a depthwise convolution makes a constant of
    it, padded or not, since a padded image of zeros is one of zeros. A constant is lost where padding gives
    it an edge, and where something that depends on the image scales it or is added to it.
    """
    return _Follower(model, traced).follow()


class _Follower:
    """One pass over the records of a graph."""

    def __init__(self, model: nn.Module, traced: Trace) -> None:
        self._model, self._traced = model, traced
        self._norm_of = batch_norms(model, traced)
        self._calls = layer_calls(model, traced)
        self._depthwise = {
            node for node, layer in self._calls.items() if traced.map.layer(layer).kind == "depthwise"
        }
        self._starts = self._starting_nodes()
        self._levels: dict[str, Levels] = {}
        self._alive: dict[int, str] = {}
        self._takers: dict[str, list[Ids]] = {}
        tables = [axis.ids for axes in traced.map.axes.values() for axis in axes]
        tables += [record.value.ids for record in traced.records]
        self._size = 2 + max((int(ids.max(initial=NO_ID)) for ids in tables), default=NO_ID)

    def follow(self) -> Remains:
        """Go through the graph in forward order."""
        for record in self._traced.records:
            self._levels[record.name] = self._after(record)
        takers = {name: np.unique(np.concatenate(parts)) for name, parts in self._takers.items()}
        return Remains(self._alive, takers)

    def _starting_nodes(self) -> set[str]:
        """Where compactors make zeros: behind the BN, or the convolution, of whatever scores a group."""
        convolutions = {layer.name for layer in scored_convolutions(self._traced.map)}
        scoring = convolutions.intersection(n for group in self._traced.map.groups for n in group.producers)
        ends = followers(self._norm_of, self._model, self._traced)
        return {node for node, layer in ends.items() if layer in scoring}

    def _after(self, record: NodeRecord) -> Levels:
        """The levels of a node's channels, once what it does to its inputs' channels is noted."""
        carried = self._carried(record)
        if record.name in self._starts:
            if record.op != "batch_norm":
                self._note_reader(record)
            return np.where(carried, ZERO, ABSENT).astype(np.int8)
        if record.op.startswith(("conv", "linear")):
            return self._after_layer(record, carried)
        if record.op in ("index", "index_add"):
            return self._after_index(record, carried)
        levels = self._together(record)
        if record.op in _NORMALISE or not record.value.reads_zero:
            levels = np.where(levels == ZERO, CONSTANT, levels)
        if record.op in _MOVES_ZEROS_IN:
            levels = np.where(levels == CONSTANT, VARIES, levels)
        return np.where(carried, levels, ABSENT).astype(np.int8)

    def _together(self, record: NodeRecord) -> Levels:
        """The levels of a node's inputs as one: the worst, and what an input has no channel for varies."""
        inputs = [self._level(name) for name in record.inputs]
        if record.op in _NORMALISE or record.op in _SLOPED:  # the others are parameters, one per channel
            inputs = inputs[:1]
        if record.op not in _JOINS:
            inputs = [np.where(level == ABSENT, VARIES, level) for level in inputs]
        worst = np.maximum.reduce([np.full(self._size, ABSENT), *inputs])
        if record.op == "mul":
            worst = np.where(np.logical_or.reduce([level == ZERO for level in inputs]), ZERO, worst)
        return np.where(worst == ABSENT, VARIES, worst)

    def _after_layer(self, record: NodeRecord, carried: NDArray[np.bool_]) -> Levels:
        """A depthwise convolution passes channels on; any other layer ends them and begins new ones."""
        if record.name not in self._depthwise:
            self._note_reader(record)
            return np.where(carried, VARIES, ABSENT).astype(np.int8)
        before, module = self._level(record.inputs[0]), self._module(record)
        after = np.where(before == CONSTANT, CONSTANT if _is_unpadded(module) else VARIES, before)
        if module is None or module.bias is not None:
            after = np.where(before == ZERO, CONSTANT, after)
        return np.where(carried, after, ABSENT).astype(np.int8)

    def _note_reader(self, record: NodeRecord) -> None:
        """A layer that mixes channels reads zeros, or constants if its bias can take them."""
        levels = self._level(record.inputs[0])
        where = self._calls.get(record.name) or f"{record.op} in {record.module or 'the top module'}"
        module = self._module(record)
        constants = np.flatnonzero(levels == CONSTANT)
        if not _is_unpadded(module):
            self._keep(constants, f"a dead channel is no zero but a constant where {where} pads it")
        elif module is None or (module.bias is None and where not in self._norm_of):
            self._keep(constants, f"a dead channel is a constant to {where}, which has no bias to take it")
        elif len(constants):
            self._takers.setdefault(where, []).append(constants)
        self._keep(
            np.flatnonzero(levels == VARIES),
            f"a dead channel is neither zero nor a constant where {where} reads it",
        )

    def _after_index(self, record: NodeRecord, carried: NDArray[np.bool_]) -> Levels:
        """A padding shortcut copies channels into others, which live as their sources do, and makes zeros."""
        for name in record.inputs:
            level = self._levels.get(name)
            if level is not None:
                where = record.module or "the top module"
                self._keep(
                    np.flatnonzero(level >= CONSTANT), f"a dead channel is not zero where {where} copies it"
                )
        levels = np.where(carried, VARIES, ABSENT).astype(np.int8)
        for index in self._traced.map.indices:
            if record.op == "index" and index.name.rpartition(".")[0] == record.module:
                copies = index.values != NO_ID
                levels[index.own_ids[~copies]] = ZERO
                self._keep(
                    index.own_ids[copies], f"{record.module} copies a channel of another stream into it"
                )
        return levels

    def _keep(self, ids: Ids, reason: str) -> None:
        for i in ids.tolist():
            self._alive.setdefault(i, reason)

    def _carried(self, record: NodeRecord) -> NDArray[np.bool_]:
        carried = np.zeros(self._size, dtype=bool)
        carried[record.value.ids.ravel()] = True
        carried[NO_ID] = False
        return carried

    def _level(self, node: str) -> Levels:
        """What is known of an input; of parameters and of lists of tensors, nothing."""
        return self._levels.get(node, np.full(self._size, ABSENT, dtype=np.int8))

    def _module(self, record: NodeRecord) -> nn.Module | None:
        layer = self._calls.get(record.name)
        return None if layer is None else self._model.get_submodule(layer)


def _is_unpadded(module: nn.Module | None) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.padding == "valid" or not any(pixels != 0 for pixels in module.padding)
    return isinstance(module, nn.Linear)
