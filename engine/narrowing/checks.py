"""The two proofs of a narrow network: its structure is as planned, its values are the masked network's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ProofError
from ..graph.channels import NO_ID, Ids
from ..graph.ids import Value
from ..graph.trace import Trace
from ..graph.walk import NodeRecord
from ..modules.inputs import Call, answer, tensors_of

TOLERANCE = 1e-6  # relative, in float64
TOLERANCE_FLOAT32 = 1e-4  # where a network computes in nothing else


@dataclass(frozen=True, eq=False)
class Misfit:
    """A place where the narrow network is not what was planned: these ids cannot be removed."""

    ids: Ids
    reason: str


def structure_misfit(full: Trace, narrow: Trace, removed: Iterable[int]) -> Misfit | None:
    """Compare the narrow network's graph, tensor by tensor, with what is left of the full one's.

    Every surviving channel must arrive in its own place at every tensor of the graph and at every axis of
    every parameter: extents alone would let a shuffle that mixes up channels pass.

    Returns:
        None when they agree, else the first place where they do not.
    """
    removed = list(removed)
    gone = full.map.removal_mask(removed)
    if [r.op for r in full.records] != [r.op for r in narrow.records]:
        return Misfit(np.array(removed), "the network runs other code when it is narrower")
    survivors = _correspondence(full, narrow, gone)
    # Ids that no parameter carries (zero channels written into the code) have no counterpart to compare.
    carried = np.unique(np.concatenate([axis.ids for axes in full.map.axes.values() for axis in axes]))
    # A head that is left alone is not told from attention without heads: none can be in another's place.
    alone = _alone(full, gone)
    for before, after in zip(full.records, narrow.records, strict=True):
        where = f"{before.op} in {before.module or 'the top module'}"
        before_ids, after_ids = _patterns(before.value, after.value)
        expected = _left(np.where(np.isin(before_ids, carried), before_ids, NO_ID), gone)
        if not _agree(expected, survivors[after_ids].ravel(), alone):
            return Misfit(before.value.ids.ravel(), f"{where} does not follow its channels")
        if before.numbers != after.numbers:
            return Misfit(before.value.ids.ravel(), f"{where} computes with the number of channels")
    for name, axes in full.map.axes.items():
        found_axes = {axis.dim: axis for axis in narrow.map.axes_of(name)}
        for axis in axes:
            expected = _left(axis.ids, gone)
            if axis.dim not in found_axes and len(expected) == 1:
                continue  # a single channel is not told from an axis that no channel indexes
            found = survivors[found_axes[axis.dim].ids] if axis.dim in found_axes else np.full(0, NO_ID)
            if not _agree(expected, found, alone):
                return Misfit(axis.ids, f"axis {axis.dim} of {name} is indexed by other channels when narrow")
    return None


def value_difference(
    masked: nn.Module, narrow: nn.Module, full: Trace, removed: Iterable[int], given: Tensor | Call
) -> float:
    """The largest relative difference between the masked and the narrow network, outputs and every conv.

    Both run in float64 on the same images, or other arguments, and draw the same random numbers; of the
    masked network's convs only the surviving channels are looked at.
    Differences are relative to the largest absolute value of each output.

    Raises:
        ProofError: an output is not finite, so nothing can be said.
    """
    gone = full.map.removal_mask(removed)
    worst = 0.0
    convs_wide, wide = _outputs(masked, given)
    convs_thin, thin = _outputs(narrow, given)
    convs: list[NodeRecord | None] = [record for record in full.records if record.op.startswith("conv")]
    if len(convs) != len(convs_wide):  # code that is not part of the graph convolves too
        convs, convs_wide, convs_thin = [], [], []
    outputs = [None] * len(wide)
    if not wide:
        raise ProofError("the network returns no tensor, so that nothing can be proven of it")
    for record, a, b in zip([*convs, *outputs], [*convs_wide, *wide], [*convs_thin, *thin], strict=True):
        name = (record.module or record.name) if record else "the output"
        if record:
            a = _survivors(a, record.value, gone)
        worst = max(worst, _difference(a, b, name))
    return worst


def _difference(a: Tensor, b: Tensor, name: str) -> float:
    """The largest difference between two tensors, in units of the largest number in the first."""
    if a.shape != b.shape:
        raise ProofError(f"{name} has shape {tuple(b.shape)} when narrow, not {tuple(a.shape)}")
    if not a.numel():
        return 0.0
    if not (a.is_floating_point() or a.is_complex()):
        return float((a != b).any())
    masked_out = a.isinf() & (a == b)  # as attention does: at the same places in both
    a, b = a.masked_fill(masked_out, 0), b.masked_fill(masked_out, 0)
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ProofError(
            f"{name} is not finite: nothing can be proven; check the weights with `prune inspect`"
        )
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


def _alone(full: Trace, gone: np.ndarray) -> Ids:
    """The channels that are all that is left of their groups."""
    left = (_left(group.channels, gone) for group in full.map.groups)
    return np.array([int(ids[0]) for ids in left if len(ids) == 1], dtype=np.int64)


def _agree(expected: Ids, found: Ids, alone: Ids) -> bool:
    """Are these the same ids in the same places, where those that are alone may have none?"""
    if np.array_equal(expected, found):
        return True
    blank_expected, blank_found = (np.where(np.isin(ids, alone), NO_ID, ids) for ids in (expected, found))
    return np.array_equal(blank_expected, blank_found)


def _correspondence(full: Trace, narrow: Trace, gone: np.ndarray) -> Ids:
    """Lookup table: id of the narrow network -> id of the full one, by the producers they index."""
    top = 1 + max((int(a.ids.max(initial=0)) for axes in narrow.map.axes.values() for a in axes), default=0)
    top = max(top, 1 + max((int(r.value.ids.max(initial=0)) for r in narrow.records), default=0))
    table = np.full(top + 1, NO_ID, dtype=np.int64)
    for name, axes in full.map.axes.items():
        found_axes = {axis.dim: axis for axis in narrow.map.axes_of(name)}
        for axis in axes:
            kept, found = axis.ids[~gone[axis.ids]], found_axes.get(axis.dim)
            if found is not None and len(kept) == len(found.ids):
                unset = table[found.ids] == NO_ID
                table[found.ids[unset]] = kept[unset]
    table[NO_ID] = NO_ID
    return table


def _survivors(tensor: Tensor, value: Value, gone: np.ndarray) -> Tensor:
    """What of a convolution's output is left once the channels are gone."""
    for axis in value.varying_axes():
        kept = np.flatnonzero(~gone[value.ids.ravel()])
        tensor = tensor.index_select(axis, torch.from_numpy(kept))
    return tensor


def _left(ids: Ids, gone: np.ndarray) -> Ids:
    flat = ids.ravel()
    return flat[~gone[flat]]


def _patterns(before: Value, after: Value) -> tuple[Ids, Ids]:
    """The ids of both, spread along every axis that they vary along in either."""
    axes = {*before.varying_axes(), *after.varying_axes()}
    before_ids, after_ids = (
        np.broadcast_to(v.ids, [n if axis in axes else 1 for axis, n in enumerate(v.shape)])
        for v in (before, after)
    )
    return before_ids, after_ids


class _Recorder(TorchDispatchMode):
    """Collects what every convolution makes."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ == "convolution":
            self.outputs.append(made)
        return made


def _outputs(model: nn.Module, given: Tensor | Call) -> tuple[list[Tensor], list[Tensor]]:
    """What every convolution makes in one pass, in forward order; and what the network returns."""
    recorder = _Recorder()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with recorder:
            returned = answer(model, given)
    return recorder.outputs, tensors_of(returned)
