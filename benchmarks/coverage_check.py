"""Is a narrow network the full one with some channels masked? Answered from the two state dicts alone.

Nothing of the engine is used. Weights are random, so their values say which rows of a tensor stayed: the
others are set to zero in a copy of the full network, wherever a tensor makes channels, and both networks run
in float64. Tensors that read channels, variances and counters stay as they are.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

SAMPLES = 24  # values of a row that are looked for
MEETINGS = 100  # places at most where a value may be found: large tensors hold more numbers than there are


def difference_to_masked(
    full: nn.Module, narrow: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> float:
    """The largest difference of any output, relative to its largest value, in float64 where it can be.

    Raises:
        ValueError: what stayed in a tensor cannot be told from its values, or an output has another shape.
    """
    masked = copy.deepcopy(full)
    modules, state = dict(masked.named_modules()), masked.state_dict()
    for name, thin in narrow.state_dict().items():
        wide = state.get(name)
        if (
            wide is None
            or wide.shape == thin.shape
            or wide.dim() != thin.dim()
            or not wide.is_floating_point()
        ):
            continue
        for axis in range(wide.dim()):
            if wide.shape[axis] != thin.shape[axis] and _makes(modules, name, axis):
                gone = sorted(set(range(wide.shape[axis])) - set(_kept(wide, thin, axis, name)))
                wide.index_fill_(axis, torch.tensor(gone), 0)
    try:
        outputs = [_outputs(model, args, kwargs, torch.float64) for model in (masked, narrow)]
    except RuntimeError:  # some write float32 into their code
        outputs = [_outputs(model, args, kwargs, torch.float32) for model in (masked, narrow)]
    worst = 0.0
    for a, b in zip(*outputs, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"an output has shape {tuple(b.shape)} instead of {tuple(a.shape)}")
        if a.numel():
            worst = max(worst, float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)))
    return worst


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network with all parameters and statistics such that no two channels are alike."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or tensor.dim() == 0:
                continue
            noise = torch.rand(tensor.shape, generator=draws)
            if tensor.dim() == 1:  # float32 has few numbers: random ones meet
                noise = torch.randperm(len(tensor), generator=draws) / len(tensor)
            if name.endswith("running_var"):
                tensor.copy_(0.7 + 0.6 * noise)
            elif name.endswith("running_mean"):
                tensor.copy_(0.2 * (noise - 0.5))
            elif isinstance(tensor, nn.Parameter) and tensor.dim() == 1:
                tensor.copy_(tensor.mean() + 0.2 * (noise - 0.5))
            elif isinstance(tensor, nn.Parameter) and (tensor == tensor.flatten()[:1]).all():
                tensor.add_(0.2 * (noise - 0.5))  # a table that begins with zeros
    return model.eval()


def _makes(modules: dict[str, nn.Module], name: str, axis: int) -> bool:
    """Do the positions of this axis make channels, rather than read them?"""
    owner, _, slot = name.rpartition(".")
    module = modules.get(owner)
    if slot == "running_var":
        return False
    if isinstance(module, nn.modules.conv._ConvTransposeNd) and slot == "weight":
        depthwise = module.groups == module.in_channels > 1
        return axis == (0 if depthwise else 1)
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention):
        return axis == 0
    return not isinstance(module, nn.RNNBase)


def _kept(wide: Tensor, thin: Tensor, axis: int, name: str) -> list[int]:
    """Which positions along an axis stayed: where the values of each narrow row stand in the wide tensor."""
    flat = wide.double().numpy().ravel()
    order = np.argsort(flat, kind="stable")
    ranked = flat[order]
    rows = thin.movedim(axis, 0).reshape(thin.shape[axis], -1).double().numpy()
    kept: list[int] = []
    for row in rows:
        values = row[:: max(1, len(row) // SAMPLES)][:SAMPLES]
        first, behind = (np.searchsorted(ranked, values, side=side) for side in ("left", "right"))
        found = [order[a:b] for a, b in zip(first, behind, strict=True) if b - a <= MEETINGS]
        if not any(map(len, found)):
            raise ValueError(f"which rows of {name} stayed cannot be told from their values")
        counts = np.bincount(np.unravel_index(np.concatenate(found), wide.shape)[axis])
        if (counts == counts.max()).sum() > 1:
            raise ValueError(
                f"which rows of {name} stayed cannot be told from their values: two are as likely"
            )
        kept.append(int(counts.argmax()))
    return kept


@torch.no_grad()
def _outputs(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], kind: torch.dtype
) -> list[Tensor]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        model = copy.deepcopy(model).to(kind).eval()
        args, kwargs = pytree.tree_map_only(
            Tensor, lambda t: t.to(kind) if t.is_floating_point() else t, (args, kwargs)
        )
        torch.manual_seed(0)
        with sdpa_kernel(SDPBackend.MATH):  # the fast kernels are not exact to the last digits
            made = pytree.tree_leaves(model(*args, **kwargs))
    finally:
        torch.set_default_dtype(before)
    return [one.double() for one in made if isinstance(one, Tensor) and one.is_floating_point()]
