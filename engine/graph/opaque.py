"""Modules whose code torch.export cannot follow, cut around: in the graph, each of their calls is one op.

What goes in keeps its channels, so do the module's own weights, and what comes out has none that could leave.
The rest is followed as ever. How many tensors of which shapes come out, and how many multiply-accumulates
that takes, is seen in a run of a copy.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import TraceError
from ..modules.forwards import other_forwards
from ..modules.inputs import Call, answer
from .walk import Arguments, Walk, unknown, values_in

_NOT_THE_USERS = ("torch.", f"{__name__.rpartition('.graph')[0]}.")  # layers, and what stands in for some
MOST = 8  # modules that are cut around: a network with more of them is written in another way throughout


@dataclass(frozen=True)
class _Seen:
    """One call of an opaque module, as it was seen.

    Attributes:
        module: its path.
        reason: why it is opaque.
        macs: multiply-accumulates of the convolutions and linear layers in it, of all samples.
        leaves, tree: what it returned; of tensors, their looks.
    """

    module: str
    reason: str
    macs: int
    leaves: list[Any]
    tree: pytree.TreeSpec


class _Macs(TorchDispatchMode):
    """Counts multiply-accumulates of convolutions and linear layers, and of no other products, as everywhere.

    A linear layer is a product of two matrices, or of several with one that is spread over them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made, op = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if op == "convolution":
            x, weight, transposed = args[0], args[1], args[6]
            self.count += (x if transposed else made).numel() * weight[0].numel()
        elif op in ("mm", "addmm"):
            self.count += made.numel() * args[-2].shape[1]
        elif op == "bmm" and 0 in (args[0].stride(0), args[1].stride(0)):
            self.count += made.numel() * args[0].shape[2]
        return made


_seen: dict[int, _Seen] = {}  # number in the graph -> the call; each is taken out when the graph is walked
_numbers = count()


@torch.library.custom_op("prune::opaque", mutates_args=())
def _stands_for_a_call(tensors: Sequence[Tensor], number: int) -> list[Tensor]:
    raise AssertionError("graphs with this op are read, and never run")


@_stands_for_a_call.register_fake
def _(tensors: Sequence[Tensor], number: int) -> list[Tensor]:
    looks = (leaf for leaf in _seen[number].leaves if isinstance(leaf, Tensor))
    return [torch.empty(like.shape, dtype=like.dtype, device=tensors[0].device) for like in looks]


def module_to_cut(model: nn.Module, raised_in: str) -> str:
    """The module that is cut around when its code, or that of a layer of torch in it, raised; "" for none."""
    path = raised_in
    while path and type(model.get_submodule(path)).__module__.startswith(_NOT_THE_USERS):
        path = path.rpartition(".")[0]
    return path


@contextmanager
def cut_around(model: nn.Module, reasons: Mapping[str, str], given: Call) -> Iterator[None]:
    """While it lasts, a call of one of these modules does nothing but stand in the graph.

    Args:
        model: in the mode in which it is exported.
        reasons: module path -> why it cannot be followed.
        given: what the model is exported with.

    Raises:
        TraceError: a module returns numbers, on which the code behind it may depend.
        Exception: whatever the network's own code raises in a plain run.
    """
    if not reasons:
        yield
        return
    numbers: dict[str, list[int]] = {path: [] for path in reasons}
    for path, returned, macs in _calls(model, reasons, given):
        leaves, tree = pytree.tree_flatten(returned)
        if any(isinstance(leaf, int | float) and not isinstance(leaf, bool) for leaf in leaves):
            raise TraceError(f"{path} returns numbers that are no tensors")
        looks = [leaf.detach().to("meta") if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        numbers[path].append(next(_numbers))
        _seen[numbers[path][-1]] = _Seen(path, reasons[path], macs, looks, tree)
    with other_forwards(model, {path: partial(_stand_in, cycle(mine)) for path, mine in numbers.items()}):
        yield


def opaque(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """Everything that an opaque call reads keeps its channels."""
    seen = _seen.pop(given["number"])
    for value in values_in(given.values()):
        walk.pin(value.ids, seen.reason)
    walk.opaque[seen.module] = walk.opaque.get(seen.module, 0) + seen.macs // walk.batch
    return unknown(node.meta["val"])


def _calls(model: nn.Module, paths: Mapping[str, str], given: Call) -> list[tuple[str, Any, int]]:
    """What each of these modules returned, and what that cost, call by call, in a run of a copy."""
    model, found = copy.deepcopy(model), []

    def noting(path: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with _Macs() as macs:
            returned = forward(*args, **kwargs)
        found.append((path, returned, macs.count))
        return returned

    watched = {path: partial(noting, path, model.get_submodule(path).forward) for path in paths}
    with other_forwards(model, watched):
        answer(model, given)
    return found


def _stand_in(numbers: Iterator[int], *args: Any, **kwargs: Any) -> Any:
    """The forward method of an opaque module while its network is exported."""
    number = next(numbers)
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    made = iter(torch.ops.prune.opaque(tensors, number))
    seen = _seen[number]
    leaves = [next(made) if isinstance(leaf, Tensor) else leaf for leaf in seen.leaves]
    return pytree.tree_unflatten(leaves, seen.tree)
