"""The second proof of a narrow network: it computes what the masked one does."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ProofError
from ..graph.ids import Value
from ..graph.trace import Trace
from ..modules.inputs import Call, answer, tensors_of
from .linears import Keep, LinearOutputs
from .norms import NarrowedNorms
from .stand_ins import StandIns

TOLERANCE = 1e-6  # relative, in float64
TOLERANCE_FLOAT32 = 1e-4  # where a network computes in nothing else
CONVS = ""  # all convolutions, in forward order: below Python nothing says whose weight they have


def value_difference(
    masked: nn.Module,
    narrow: nn.Module,
    full: Trace,
    removed: Iterable[int],
    given: Tensor | Call,
    stand_ins: tuple[StandIns | None, StandIns | None] = (None, None),
) -> float:
    """The largest relative difference between the masked and the narrow network, of outputs and every layer.

    Both run in float64 on the same images, or other arguments, and draw the same random numbers; of what the
    masked network's convs and linear layers make, only the surviving channels are looked at. A norm over all
    channels that some have left takes the statistics of those that stay, in the masked network too: that is
    what masked means there. Differences are relative to the largest absolute value of each output.

    What the narrow network's layers make is held in memory; that of the masked one is compared as it comes.

    Args:
        masked, narrow: the two networks; where there are `stand_ins`, as they happen to be in memory.
        full: the trace of the full network.
        removed: the channels that `narrow` lacks.
        given: what both are called with.
        stand_ins: what either reads instead of its own tensors.

    Raises:
        ProofError: an output is not finite, so nothing can be said; or they run other layers.
    """
    gone = full.map.removal_mask(removed)
    # A copy: what follows may change it in place.
    thin, returned_thin = _run(narrow, full, given, stand_ins[1], lambda name, call, made: made.clone())
    convs = [record for record in full.records if record.op.startswith("conv")]
    stay = {
        layer.weight: torch.from_numpy(np.flatnonzero(~gone[layer.out_ids]))
        for layer in full.map.layers
        if layer.kind == "linear"
    }

    def against_thin(name: str, call: int, made: Tensor) -> float | ProofError:
        """How far one call of a layer is from the narrow network's."""
        if name == CONVS and call < len(thin[name]) == len(convs):
            made, layer = _survivors(made, convs[call].value, gone), convs[call].module or convs[call].name
        elif name != CONVS and call < len(thin[name]):
            made, layer = made.index_select(-1, stay[name]), name.removesuffix(".weight")
        else:
            return 0.0  # there is nothing to compare with
        try:
            return _difference(made, thin[name][call], layer)
        except ProofError as error:
            return error

    wide, returned = _run(masked, full, given, stand_ins[0], against_thin, NarrowedNorms(full, gone))
    if not returned:
        raise ProofError("the network returns no tensor, so that nothing can be proven of it")
    if len(wide[CONVS]) != len(thin[CONVS]):
        raise ProofError(
            f"the narrow network convolves {len(thin[CONVS])} times, the masked one {len(wide[CONVS])} times"
        )
    # Layers that the two call in other ways are passed over: attention of torch's own makes its products
    # below Python, and becomes code of ours where heads have left.
    found = [one for name, calls in wide.items() if len(calls) == len(thin[name]) for one in calls]
    for one in found:
        if isinstance(one, ProofError):
            raise one
    outputs = (_difference(a, b, "the output") for a, b in zip(returned, returned_thin, strict=True))
    return max([*found, *outputs])


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


def _survivors(tensor: Tensor, value: Value, gone: np.ndarray) -> Tensor:
    """What of a convolution's output is left once the channels are gone."""
    for axis in value.varying_axes():
        kept = np.flatnonzero(~gone[value.ids.ravel()])
        tensor = tensor.index_select(axis, torch.from_numpy(kept))
    return tensor


class _Convs(TorchDispatchMode):
    """Collects what every convolution makes, and has norms normalise over the channels that stay."""

    def __init__(self, keep: Keep, norms: NarrowedNorms | None) -> None:
        super().__init__()
        self.made: list[Any] = []
        self._keep, self._norms = keep, norms

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        made = self._norms.call(name, func, args) if self._norms else None
        if made is None:
            made = func(*args, **(kwargs or {}))
        if name == "convolution":
            self.made.append(self._keep(CONVS, len(self.made), made))
        return made


def _run(
    model: nn.Module,
    full: Trace,
    given: Tensor | Call,
    stand_ins: StandIns | None,
    keep: Keep,
    norms: NarrowedNorms | None = None,
) -> tuple[dict[str, list[Any]], list[Tensor]]:
    """What `keep` makes of every layer's outputs in one pass, per weight and of `CONVS`; what is returned."""
    convs, linears = _Convs(keep, norms), LinearOutputs(model, full.map, keep)
    # The fast kernels of attention are not exact to the last digits, in float64 neither.
    with torch.no_grad(), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(0)
        inside = norms.inside(model) if norms else nullcontext()
        with inside, convs, stand_ins or nullcontext(), linears:
            returned = answer(model, given)
    if norms is not None:
        norms.check()
    return defaultdict(list, {CONVS: convs.made} | linears.made), tensors_of(returned)
