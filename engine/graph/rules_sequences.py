"""Channel ids through what reads sequences: recurrent layers and embeddings."""

from typing import Any

from torch import fx

from .channels import Role
from .ids import Value, along
from .walk import Arguments, Walk, unknown


def recurrent(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """LSTM, GRU and plain layers read the channels of their input; what they remember stays as it is."""
    if "input" not in given:  # sequences of different lengths, packed
        return walk.give_up(node, given.values(), "no rule for this op")
    x, weights = given["input"], given["params"]
    directions = 2 if given["bidirectional"] else 1
    each = len(weights) // (int(given["num_layers"]) * directions)
    first = [weights[i * each] for i in range(directions)]
    return _read(walk, node, given, x, first)


def recurrent_cell(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """One step of a recurrent layer."""
    return _read(walk, node, given, given["input"], [given["w_ih"]])


def embedding(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """A table's columns are the channels of what is looked up in it."""
    table, made = given["weight"], node.meta["val"]
    if table.name is None:
        return walk.give_up(node, given.values(), "a table that is no parameter")
    ids = walk.owned(table.name, 1, table.shape[1])
    return Value(tuple(made.shape), along(made.dim() - 1, made.dim(), ids))


def _read(walk: Walk, node: fx.Node, given: Arguments, x: Value, weights: list[Value]) -> Any:
    """Matrices (hidden, input) read the channels on the last axis; nothing else has any."""
    ids = walk.line(x, -1)
    if ids is None or any(weight.name is None for weight in weights):
        return walk.give_up(node, given.values(), "ids that do not go by channel")
    walk.pin_unless_zero(x)
    for weight in weights:
        walk.label(str(weight.name), 1, ids, Role.CONSUMES)
    states = given["hx"] if isinstance(given["hx"], list | tuple) else [given["hx"]]
    for state in states:
        walk.pin(state.ids, f"a remembered state at {walk.where()}")
    return unknown(node.meta["val"])
