"""What masked means where channels leave a norm over all of them: its statistics are of those that stay."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ProofError
from ..graph.trace import Trace
from ..modules.forwards import other_forwards
from ..modules.through import normalised_alone, written_out

OTHERWISE = "nothing can be proven: the network normalises otherwise than torch.export saw"
_WRITTEN_OUT = "rms_norm"  # in the graph, what all other norms are that channels may leave
_MODULE = "module "  # before their paths, to tell them from ops
_AXES = {"layer_norm": -1, "group_norm": 1}  # op of the graph -> the axis of its channels


class NarrowedNorms:
    """The norms over all channels of a masked network, in the order in which they are called.

    Layer and group norms are found among the operations, whatever modules they stand in; the others are
    modules. Behind such a norm the channels that left are zero, and the others as if those had never been.
    """

    def __init__(self, full: Trace, gone: np.ndarray) -> None:
        """Find out which channels stay at which call.

        Args:
            full: the trace of the network.
            gone: the removal mask; see `ChannelMap.removal_mask`.
        """
        kept: dict[str, list[Tensor | None]] = {op: [] for op in _AXES}
        for record in full.records:
            if record.op in _AXES:
                line = record.value.line(_AXES[record.op])
                over_all = record.op == "layer_norm" or not record.numbers  # smaller groups have a fixed size
                narrowed = over_all and line is not None and gone[line].any()
                kept[record.op].append(torch.from_numpy(np.flatnonzero(~gone[line])) if narrowed else None)
        for record in full.records:
            line = record.value.line(-1) if record.op == _WRITTEN_OUT else None
            if line is not None:
                narrowed = torch.from_numpy(np.flatnonzero(~gone[line])) if gone[line].any() else None
                kept.setdefault(f"{_MODULE}{record.module}", []).append(narrowed)
        self._calls = {of: iter(calls) for of, calls in kept.items() if any(k is not None for k in calls)}

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """While it lasts, modules of the masked network that are such norms are as narrow as they will be."""
        paths = [path for path in written_out(model) if f"{_MODULE}{path}" in self._calls]
        norms = {path: model.get_submodule(path) for path in paths}
        with other_forwards(model, {p: partial(self._alone, p, norm) for p, norm in norms.items()}):
            yield

    def call(self, name: str, func: Any, args: Sequence[Any]) -> Any:
        """What an op makes, or None where it is none of these norms.

        Args:
            name: as PyTorch calls it when it runs.
            func, args: the call.

        Raises:
            ProofError: the network normalises more often than its graph says.
        """
        op = name.removeprefix("native_")
        if op not in self._calls or name == op:
            return None
        kept = self._next(op)
        if kept is None:
            return func(*args)
        x, kept = args[0], kept.to(args[0].device)
        weights = [None if w is None else w[kept] for w in (args[2:4] if op == "layer_norm" else args[1:3])]
        few = x.index_select(_AXES[op], kept)
        if op == "layer_norm":
            made = func(few, [len(kept)], *weights, args[4])
        else:
            batch, _, positions, groups, eps = args[3:8]
            made = func(few, *weights, batch, len(kept), positions, groups, eps)
        return (torch.zeros_like(x).index_copy_(_AXES[op], kept, made[0]), *made[1:])

    def _alone(self, path: str, module: nn.Module, x: Tensor) -> Tensor:
        kept = self._next(f"{_MODULE}{path}")
        return type(module).forward(module, x) if kept is None else normalised_alone(module, x, kept)

    def _next(self, of: str) -> Tensor | None:
        """The channels that stay at the next call of an op, or of a module; None where all do."""
        try:
            return next(self._calls[of])
        except StopIteration:
            raise ProofError(f"{OTHERWISE}: more often") from None

    def check(self) -> None:
        """After the pass: every norm of the graph was called.

        Raises:
            ProofError: one was not, so that channels may have been taken for others.
        """
        if any(next(calls, self) is not self for calls in self._calls.values()):
            raise ProofError(f"{OTHERWISE}: less often")
