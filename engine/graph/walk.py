"""One walk over an exported graph: every tensor gets its channel ids, every parameter axis its label."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.fx.node import map_arg

from .channels import NO_ID, Axis, Ids, IndexTensor, Layer, Role
from .ids import IdPool, Value, along, no_ids, several_classes
from .nodes import (
    UNKNOWN,
    is_pointwise,
    memory_of,
    numbers_of,
    place_of,
    schema_of,
    single_numbers,
    written_by,
)
from .places import Reason
from .records import NodeRecord, Split

Arguments = dict[str, Any]
# From the walk, a node and its arguments by schema name to the value, or values, that the node makes.
Rule = Callable[["Walk", fx.Node, Arguments], Any]

OUTPUT = "network output"  # the reason why what a network answers stays


@dataclass(eq=False)
class Walk:
    """The growing knowledge about a network; several graphs of one network may be walked in turn.

    `batch` is how many samples the graph is for: what is counted is counted per sample.
    """

    model: nn.Module
    canonical: dict[str, str]
    rule_for: Callable[[fx.Node], Rule]
    batch: int = 1
    pool: IdPool = field(default_factory=IdPool)
    axes: dict[tuple[str, int], Axis] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    indices: dict[str, IndexTensor] = field(default_factory=dict)
    pins: dict[int, str] = field(default_factory=dict)
    stream_ids: set[int] = field(default_factory=set)
    bundles: dict[int, str] = field(default_factory=dict)  # ids of attention -> what they are of it
    splits: list[Split] = field(default_factory=list)  # views that took channels apart, where that matters
    records: list[NodeRecord] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # parameters and buffers that some op reads
    opaque: dict[str, int] = field(default_factory=dict)  # module that is cut around -> MACs per sample
    _labelled: set[tuple[str, str]] = field(default_factory=set)  # node, and a tensor whose ids it knows
    _other_uses: dict[str, str] = field(default_factory=dict)
    _node: fx.Node | None = None
    _fixed: tuple[float, ...] = ()
    _constants: dict[str, float] = field(default_factory=dict)  # numbers that code has made tensors of

    def run(self, program: ExportedProgram) -> None:
        """Walk one exported graph from its inputs to its outputs."""
        signature = program.graph_signature
        tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        values: dict[fx.Node, Any] = {}
        self.records, self._constants = [], single_numbers(program)
        for node in program.graph.nodes:
            self._node, self._fixed = node, ()
            if node.op == "placeholder":
                values[node] = self._placeholder(node, tensors.get(node.name))
            elif node.op == "output":
                self._pin_outputs(node, values, {str(name) for name in signature.user_outputs})
            elif node.target is operator.getitem:
                made = values[node.args[0]]
                values[node] = made[node.args[1]] if isinstance(made, list | tuple) else None
            elif node.op == "call_function":
                values[node] = self.rule_for(node)(self, node, self._arguments(node, values))
                self._note_write(node, values)
                self._note_other_uses(node, values)
            else:
                values[node] = None
            self._record(node, values.get(node))
        self._node = None  # what follows is no op's doing
        self._pin_other_uses()

    # What rules ask for.

    def is_parameter(self, name: str) -> bool:
        """Is this entry of the state dict a parameter, and no buffer?"""
        owner, _, slot = name.rpartition(".")
        return slot in self.model.get_submodule(owner)._parameters

    def where(self) -> str:
        """The op being walked, the module it stands in and the line of code, for messages."""
        assert self._node is not None
        return str(place_of(self._node))

    def owned(self, name: str, dim: int, count: int, role: Role = Role.PRODUCES) -> Ids:
        """The ids that a tensor itself gives to the positions of one of its axes, made on first use."""
        self._labelled.add((self._here, name))
        if (name, dim) not in self.axes:
            self.axes[name, dim] = Axis(dim, self.pool.new(count), role)
        self._produce_if(role, name, dim)
        return self.axes[name, dim].ids

    def label(self, name: str, dim: int, ids: Ids, role: Role) -> None:
        """Say which ids index an axis; an axis that has ids already is tied to the new ones."""
        self._labelled.add((self._here, name))
        if (name, dim) in self.axes:
            self.unite(self.axes[name, dim].ids, ids)
        else:
            self.axes[name, dim] = Axis(dim, ids, role)
        self._produce_if(role, name, dim)

    def unite(self, first: Ids, second: Ids) -> None:
        """Tie ids position by position; an id opposite `NO_ID` can never leave and is pinned."""
        first, second = np.broadcast_arrays(first, second)
        both = (first != NO_ID) & (second != NO_ID)
        self.pool.unite(first[both], second[both])
        lone = np.where(first != NO_ID, first, second)[~both]
        self.pin(lone, f"meets channels without identity at {self.where()}")

    def pin(self, ids: Ids, reason: str) -> None:
        """These ids are never removed; the first reason given is kept, with the op that is being walked."""
        placed = Reason(reason, self._node and place_of(self._node))
        for i in np.unique(ids).tolist():
            if i != NO_ID:
                self.pins.setdefault(i, placed)

    def pin_unless_zero(self, value: Value) -> None:
        """A consumer may only lose channels that read as zero when masked."""
        if not value.reads_zero:
            self.pin(value.ids, f"a removed channel would not read as zero at {self.where()}")

    def line(self, value: Value, axis: int) -> Ids | None:
        """One id per position of `axis`; what varies along other axes too leaves together.

        None where nothing varies along `axis` alone: then everything would leave together.
        """
        line = value.line(axis)
        if line is not None:
            return line
        ids = self.mixed(value, [other for other in value.varying_axes() if other != axis % len(value.shape)])
        return None if ids is None else np.broadcast_to(ids.reshape(-1), (value.shape[axis],)).copy()

    def mixed(self, value: Value, axes: Iterable[int]) -> Ids | None:
        """A tensor's ids where an op mixes what lies along some axes: that leaves together.

        None where everything would leave together, whatever lies along the other axes.
        """
        axes = [axis for axis in value.varying_axes() if axis in axes]
        if not axes:
            return value.ids
        rows = np.moveaxis(value.ids, axes, range(-len(axes), 0))
        rows = self.pool.roots(rows.reshape(-1, np.prod(rows.shape[-len(axes) :])))
        return self.tied_along(value.ids, axes) if several_classes(rows) else None

    def tied_along(self, ids: Ids, axes: Iterable[int]) -> Ids:
        """Tie the ids of a pattern along some of its axes, which keep one position each."""
        first = ids
        for axis in axes:
            first = first.take([0], axis)
        if first.size < ids.size:
            self.unite(first, ids)
        return first

    def fix(self, *numbers: float) -> None:
        """Note what the op being walked computes with that must be the same in the narrow network."""
        self._fixed = numbers

    def give_up(self, node: fx.Node, arguments: Iterable[Any], why: str) -> Any:
        """Pin everything that comes in; what goes out has no identity."""
        for value in values_in(arguments):
            self.pin(value.ids, f"{why} at {self.where()}")
        return unknown(node.meta.get("val"))

    def add_layer(self, layer: Layer) -> None:
        """Note one application of a layer's weight; repeated calls add up, the first says what kind it is."""
        seen = self.layers.get(layer.name)
        self.layers[layer.name] = replace(seen, positions=seen.positions + layer.positions) if seen else layer
        assert self._node is not None
        self.calls.append((self._node.name, layer.name))

    # Inside.

    def _produce_if(self, role: Role, name: str, dim: int) -> None:
        """An axis that one op reads and another produces by must be zero where its channels are masked."""
        if role is Role.PRODUCES and self.axes[name, dim].role is not Role.PRODUCES:
            self.axes[name, dim] = replace(self.axes[name, dim], role=role)

    @property
    def _here(self) -> str:
        assert self._node is not None
        return self._node.name

    def _note_other_uses(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        """A parameter that an op reads without saying by which channels, as a tied weight's transpose."""
        for source in node.all_input_nodes:
            value = values.get(source)
            name = value.name if source.op == "placeholder" and isinstance(value, Value) else None
            if name is not None and (node.name, name) not in self._labelled:
                self._other_uses.setdefault(name, self.where())

    def _pin_other_uses(self) -> None:
        for (name, _), axis in self.axes.items():
            if name in self._other_uses:
                self.pin(axis.ids, f"{name} is also read at {self._other_uses[name]}")

    def _note_write(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        """After an in-place op, whatever shares memory with its target holds what was written."""
        made = values[node]
        target = written_by(node)
        if target is None or (isinstance(made, Value) and made.reads_zero):
            return
        memory = memory_of(target)
        for other, value in values.items():
            if isinstance(value, Value) and memory_of(other) is memory:
                values[other] = replace(value, reads_zero=False)

    def _placeholder(self, node: fx.Node, name: str | None) -> Value | None:
        if not isinstance(node.meta.get("val"), torch.Tensor):
            return None
        shape = tuple(node.meta["val"].shape)
        if name is None:
            return Value(shape, no_ids(shape), reads_zero=False)
        name = self.canonical.get(name, name)
        if node.users:
            self.used.add(name)
        return Value(shape, no_ids(shape), computed=False, name=name)

    def _pin_outputs(self, node: fx.Node, values: dict[fx.Node, Any], user_outputs: set[str]) -> None:
        for made in node.all_input_nodes:
            if made.name in user_outputs and isinstance(values.get(made), Value):
                self.pin(values[made].ids, OUTPUT)

    def _arguments(self, node: fx.Node, values: dict[fx.Node, Any]) -> dict[str, Any]:
        """The call's arguments by their names in the op's schema, defaults filled in, nodes replaced."""
        schema = schema_of(node).arguments
        if schema_of(node) is UNKNOWN:
            named = {str(place): argument for place, argument in enumerate(node.args)} | dict(node.kwargs)
            return {name: map_arg(value, values.get) for name, value in named.items()}
        given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
        named = {a.name: given.get(a.name, a.default_value) for a in schema}
        return {name: map_arg(value, values.get) for name, value in named.items()}

    def _record(self, node: fx.Node, made: Any) -> None:
        if node.op == "call_function" and isinstance(made, Value):
            inputs = tuple(n.name for n in node.all_input_nodes)
            pointwise = is_pointwise(node.target)
            numbers = numbers_of(node) if pointwise else self._fixed
            numbers += tuple(
                self._constants[n.name] for n in node.all_input_nodes if n.name in self._constants
            )
            place = place_of(node)
            self.records.append(
                NodeRecord(node.name, place.op, place.module, made, inputs, numbers, place.line, pointwise)
            )


def values_in(arguments: Iterable[Any]) -> list[Value]:
    """Every tensor among the arguments of a call, lists opened."""
    found: list[Value] = []
    for argument in arguments:
        if isinstance(argument, Value):
            found.append(argument)
        elif isinstance(argument, list | tuple):
            found += values_in(argument)
    return found


def unknown(made: Any) -> Any:
    """The value of a result that no channel can be followed through."""
    if isinstance(made, torch.Tensor):
        shape = tuple(made.shape)
        return Value(shape, no_ids(shape), reads_zero=False)
    if isinstance(made, list | tuple):
        return [unknown(part) for part in made]
    return None


def identified(walk: Walk, value: Value) -> Value:
    """Give a parameter or buffer that acts elementwise ids of its own along its one long axis.

    One that has none, as a number for all channels, is never masked: it is not zero.
    """
    long_axes = [axis for axis, extent in enumerate(value.shape) if extent > 1]
    if value.name is None:
        return value
    if len(long_axes) != 1:
        return replace(value, reads_zero=False)
    axis = long_axes[0]
    ids = walk.owned(value.name, axis, value.shape[axis])
    return Value(value.shape, along(axis, len(value.shape), ids), computed=False)
