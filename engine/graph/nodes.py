"""What one node of an exported graph says of itself: its op, its module, its numbers, its memory."""

import operator
from types import SimpleNamespace
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from .places import Place, source_line

UNKNOWN = SimpleNamespace(arguments=(), returns=())  # the schema of what is no op

# Pointwise ops that carry no tag of it; leaky_relu does not with torch 2.11.
UNTAGGED = frozenset(
    {
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "relu6",
        "rrelu",
        "gelu",
        "softsign",
        "log_sigmoid",
        "leaky_relu",
    }
)


def op_name(node: fx.Node) -> str:
    """The ATen packet of a node without the in-place underscore: `add`, `relu`, `conv2d`."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__.removesuffix("_") if packet is not None else getattr(node.target, "__name__", "?")


def is_pointwise(target: Any) -> bool:
    """Does the op compute each element from the elements at the same place?"""
    name = getattr(getattr(target, "overloadpacket", None), "__name__", "").removesuffix("_")
    return torch.Tag.pointwise in getattr(target, "tags", ()) or name in UNTAGGED


def module_path(node: fx.Node) -> str:
    """The dotted path of the innermost module that a node was traced in."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0] if stack else ""


def place_of(node: fx.Node) -> Place:
    """Where it is, for messages."""
    return Place(op_name(node), module_path(node), source_line(node))


def numbers_of(node: fx.Node) -> tuple[float, ...]:
    """The numbers among its arguments."""
    return tuple(a for a in (*node.args, *node.kwargs.values()) if isinstance(a, int | float))


def single_numbers(program: ExportedProgram) -> dict[str, float]:
    """The tensors of one number that are written into the code, by the place where they enter."""
    lifted = program.graph_signature.inputs_to_lifted_tensor_constants
    tensors = {name: program.constants[key] for name, key in lifted.items()}
    return {
        name: tensor.item()
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and tensor.numel() == 1
    }


def written_by(node: fx.Node) -> fx.Node | None:
    """The tensor that an in-place op writes to."""
    for argument, given in zip(schema_of(node).arguments, node.args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(given, fx.Node):
            return given
    return None


def memory_of(node: fx.Node) -> fx.Node:
    """The node whose memory a tensor lies in: what views, and views of views, were taken from."""
    while node.op == "call_function" and node.all_input_nodes:
        if node.target is not operator.getitem and not any(r.alias_info for r in schema_of(node).returns):
            break
        node = node.all_input_nodes[0]
    return node


def schema_of(node: fx.Node) -> Any:
    """What an op takes and returns; of what is no op, as a graph within the graph, nothing is known."""
    return getattr(node.target, "_schema", UNKNOWN)
