"""A network as a list of operations without side effects, whose layers are known by name."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from torch import Tensor, fx, nn
from torch.export import ExportedProgram, export
from torch.fx.node import map_arg

from ..devices import first_weight
from ..errors import TraceError
from ..graph.exporting import followed_with_ease
from ..graph.nodes import op_name
from ..graph.places import lines_kept
from ..graph.untraceable import what_stopped
from ..modules.eval_mode import eval_mode
from ..modules.inputs import Call as Given
from ..modules.inputs import Inputs, given_tensors
from .functional import NORM, functional

UNCHANGED = frozenset({"clone", "alias", "detach", "dropout", "_to_copy", "contiguous"})


@dataclass(frozen=True, eq=False)
class Call:
    """One application of a convolution's or linear layer's weight.

    Attributes:
        node: where its output appears.
        x: where its input does.
        kind: `conv`, `transposed` or `linear`.
        stride, padding, dilation, output_padding: one per spatial axis; padding before and after.
    """

    node: fx.Node
    x: fx.Node
    layer: str
    weight: str
    bias: str | None
    kind: str
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Norm:
    """One application of a batch normalisation in evaluation.

    Attributes:
        node: where its output appears.
        x: where its input does.
        name: of the module.
        eps: what is added to the variance.
    """

    node: fx.Node
    x: fx.Node
    name: str
    eps: float


class Program:
    """The operations of a network in evaluation, in forward order, none of which changes a tensor in place.

    Attributes:
        nodes: the operations.
        users: which operations read each tensor.
        inputs: where the tensors enter that the network is called with.
        samples: how many of a batch that is.
        outputs: the operations that make what it returns.
        sources: parameters and buffers by the place where they enter.
        calls: layers whose weight is a parameter that nothing else uses.
        norms: batch normalisations whose tensors nothing else uses, by the node of their output.
    """

    def __init__(self, model: nn.Module, takes: Inputs):
        """Export `model` for calls of exactly so many samples: its code may count them."""
        program = _exported(model, takes)
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = signature.inputs_to_lifted_tensor_constants
        tensors: dict[str, Tensor] = {
            **dict(model.named_parameters(remove_duplicate=False)),
            **dict(model.named_buffers(remove_duplicate=False)),
        }
        self.sources: dict[fx.Node, Tensor] = {}
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[fx.Node] = []
        inputs: list[fx.Node] = []
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in names:
                self.names[node] = str(names[node.name])
                self.sources[node] = tensors[str(names[node.name])]
            elif node.op == "placeholder" and node.name in constants:
                self.sources[node] = cast(Tensor, program.constants[str(constants[node.name])])
            elif node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor):
                inputs.append(node)
            elif node.op == "output":
                made = {str(name) for name in signature.user_outputs}
                self.outputs = tuple(n for n in node.all_input_nodes if n.name in made)
            elif node.op == "placeholder":
                continue  # a plain value, written into the operations
            else:
                self.nodes.append(node)
        self.inputs, self.samples = tuple(inputs), takes.batch
        self.place = {node: i for i, node in enumerate(self.nodes)}
        self.users = {node: list(node.users) for node in program.graph.nodes}
        self._graph = program.graph
        self._uses: dict[int, int] = defaultdict(int)  # by memory: tied tensors enter once per name
        for node, tensor in self.sources.items():
            self._uses[tensor.data_ptr()] += len(self.users[node])
        self.calls = [call for node in self.nodes if (call := self._call(node)) is not None]
        self.norms = {norm.node: norm for node in self.nodes if (norm := self._norm(node)) is not None}

    def fed(self, given: Tensor | Given) -> dict[fx.Node, Any]:
        """What the inputs are in one call."""
        return dict(zip(self.inputs, given_tensors(given), strict=True))

    def compute(
        self,
        node: fx.Node,
        values: Mapping[fx.Node, Any],
        changed: Mapping[fx.Node, Tensor] = MappingProxyType({}),
    ) -> Any:
        """Run one operation on values that are there, with the network's parameters or `changed` ones."""

        def value(argument: fx.Node) -> Any:
            if argument in changed:
                return changed[argument]
            return self.sources[argument] if argument in self.sources else values[argument]

        target: Any = node.target
        return target(*map_arg(node.args, value), **map_arg(node.kwargs, value))

    @property
    def text(self) -> str:
        """All operations and what is written into them, in words."""
        return str(self._graph)

    def reads(self, node: fx.Node) -> Iterator[fx.Node]:
        """What an operation computes with, parameters left out."""
        return (source for source in node.all_input_nodes if source not in self.sources)

    def live_bytes(self) -> int:
        """The most that one image takes up at once when its values are kept as long as they are needed."""
        sizes = {node: _bytes(node.meta.get("val")) // self.samples for node in (*self.inputs, *self.nodes)}
        ends: dict[int, list[fx.Node]] = defaultdict(list)
        for node in sizes:
            ends[max((self.place.get(user, -1) for user in self.users[node]), default=-1)].append(node)
        most = live = sum(sizes[node] for node in self.inputs)
        for place, node in enumerate(self.nodes):
            live += sizes[node]
            most = max(most, live)
            live -= sum(sizes[done] for done in ends[place])
        return most

    def alone(self, nodes: Sequence[fx.Node | None]) -> bool:
        """Are these parameters that nothing else in the network uses?"""
        present = [node for node in nodes if node is not None]
        return all(node in self.names and self._uses[self.sources[node].data_ptr()] == 1 for node in present)

    def _call(self, node: fx.Node) -> Call | None:
        op = op_name(node)
        transposed = op.startswith("conv_transpose")
        if op not in ("conv1d", "conv2d", "conv3d", "linear") and not transposed:
            return None
        given = _arguments(node)
        x, weight, bias = given["input"], given["weight"], given["bias"]
        if not self.alone([weight, bias]):
            return None
        name = self.names[weight]
        named = (node, x, name.removesuffix(".weight"), name, self.names[bias] if bias else None)
        if op == "linear":
            return Call(*named, "linear")
        kernel = self.sources[weight].shape[2:]
        if len(x.meta["val"].shape) != len(kernel) + 2:
            return None  # a lone image, without an axis for the batch
        dilation = _each(given["dilation"], len(kernel))
        return Call(
            *named,
            "transposed" if transposed else "conv",
            _each(given["stride"], len(kernel)),
            _padding(given["padding"], kernel, dilation),
            dilation,
            _each(given.get("output_padding", 0), len(kernel)),
            given["groups"],
        )

    def _norm(self, node: fx.Node) -> Norm | None:
        """The normalised tensor is the first of three that the operation makes."""
        made = node.args[0] if op_name(node) == "getitem" and node.args[1] == 0 else None
        if not isinstance(made, fx.Node) or made.target is not NORM:
            return None
        given = _arguments(made)
        if not self.alone([given[slot] for slot in ("weight", "bias", "running_mean", "running_var")]):
            return None
        name = self.names[given["running_mean"]].removesuffix(".running_mean")
        return Norm(node, given["input"], name, given["eps"])


def _exported(model: nn.Module, takes: Inputs) -> ExportedProgram:
    given = takes.make(first_weight(model))
    with eval_mode(model), followed_with_ease(model), lines_kept(__file__):  # less to write down
        try:
            return functional(export(model, given.args, kwargs=dict(given.kwargs), strict=False))
        except Exception as error:  # torch.export raises whatever the network or its own passes raise
            stopped = what_stopped(error, model)
            raise TraceError(f"the network cannot be followed on {takes}: {stopped}") from error


def _bytes(made: Any) -> int:
    """Of a tensor, or of the first of several: the others of a normalisation are empty."""
    tensor = made[0] if isinstance(made, list | tuple) and made else made
    return tensor.numel() * tensor.element_size() if isinstance(tensor, Tensor) else 0


def _arguments(node: fx.Node) -> dict[str, Any]:
    schema = node.target._schema.arguments  # pyright: ignore
    given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    return {a.name: given.get(a.name, a.default_value) for a in schema}


def _each(numbers: int | Sequence[int], spatial: int) -> tuple[int, ...]:
    listed = [numbers] if isinstance(numbers, int) else list(numbers)
    return tuple(listed * spatial if len(listed) == 1 else listed)


def _padding(
    padding: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return tuple((0, 0) for _ in kernel)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    assert not isinstance(padding, str)
    return tuple((p, p) for p in _each(padding, len(kernel)))
