"""What a walk notes of the tensors that it comes by."""

from dataclasses import dataclass

from .channels import Ids
from .ids import Value
from .places import Place


@dataclass(frozen=True, eq=False)
class NodeRecord:
    """One tensor of the graph: the op that made it, the module it was made in, its ids and its inputs.

    `numbers` are the constants of a pointwise op, those that the code has made tensors of, and what rules say
    is fixed: no width may be among them.
    `line` is that of the code.
    """

    name: str
    op: str
    module: str
    value: Value
    inputs: tuple[str, ...]
    numbers: tuple[float, ...] = ()
    line: str = ""
    pointwise: bool = False

    @property
    def place(self) -> Place:
        """Where it is, for messages."""
        return Place(self.op, self.module, self.line)


@dataclass(frozen=True, eq=False)
class Split:
    """A view that takes one axis of channels apart.

    Attributes:
        ids: (everything before, the last axis).
        module: whose code it is.
        written: does the code say how long the last axis is?
    """

    ids: Ids
    module: str
    written: bool
