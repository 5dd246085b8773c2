"""What a user allows channels to leave all the same: norms over all of them, and single dimensions of heads.

It is written on the modules themselves: copies of a network keep it, files do not.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .eval_mode import eval_mode
from .forwards import other_forwards

_MARK = "narrows_its_statistics"
_HEAD_DIMS = "loses_head_dims"
_AXIS = "statistics_axis"  # of a norm that is more than one operation, or has several: where its channels are
_NOT_NORMS = ("torch.", f"{__name__.partition('.engine.')[0]}.")
_EXAMPLES = {-1: (2, 3), 1: (2, 3, 3)}  # axis of the channels -> the other extents of what a norm is tried on
_ALIKE = 1e-3  # what is added to the mean square before the root is taken may be any small number


def over_all_channels(module: nn.Module) -> bool:
    """Does a norm take its statistics over all channels, so that removing one changes the others?"""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == 1 < module.num_channels
    return isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1


def let_through(model: nn.Module) -> int:
    """Let channels leave through all norms over all channels; returns how many there are."""
    found = 0
    for module in model.modules():
        axis = _axis_of(module)
        if axis is not None:
            setattr(module, _AXIS, axis)
        if axis is not None or over_all_channels(module):
            setattr(module, _MARK, True)
            found += 1
    return found


def goes_through(module: nn.Module) -> bool:
    """May channels leave through this norm?"""
    return getattr(module, _MARK, False)


def let_head_dims_leave(model: nn.Module) -> None:
    """From now on attention heads lose dimensions instead of leaving as a whole."""
    setattr(model, _HEAD_DIMS, True)


def loses_head_dims(model: nn.Module) -> bool:
    """Do attention heads of this network lose dimensions?"""
    return getattr(model, _HEAD_DIMS, False)


@contextmanager
def norms_in_plain_sight(model: nn.Module) -> Iterator[None]:
    """While it lasts, norms that channels may leave and that are several operations are one of their own.

    That is for graphs to be read, not to be run: it says where which channels go.
    """
    norms = {path: model.get_submodule(path) for path in written_out(model)}
    with other_forwards(model, {path: partial(_as_one_operation, norm) for path, norm in norms.items()}):
        yield


def written_out(model: nn.Module) -> dict[str, int]:
    """Path of every norm that channels may leave and that is known by what it does -> its channels' axis."""
    return {path: getattr(m, _AXIS) for path, m in model.named_modules() if hasattr(m, _AXIS)}


def normalised_alone(module: nn.Module, x: Tensor, kept: Tensor) -> Tensor:
    """What such a norm makes where only some channels ever were; the others are zero.

    Args:
        module: the norm at full width.
        x: what it is given.
        kept: the positions of the channels that stay.
    """
    axis = getattr(module, _AXIS)
    made = _narrowed(module, kept).forward(x.index_select(axis, kept))
    return torch.zeros_like(x, dtype=made.dtype).index_copy(axis, kept, made)


def _as_one_operation(module: nn.Module, x: Tensor) -> Tensor:
    axis = getattr(module, _AXIS)
    x = x.movedim(axis, -1)
    x = F.rms_norm(x, (x.shape[-1],))
    weights = list(module.parameters(recurse=False))
    for weight in weights:
        x = x * weight if weight.dim() == 1 else x
    x = x.movedim(-1, axis)
    for weight in weights:
        x = x if weight.dim() == 1 else x * weight
    return x


def _axis_of(module: nn.Module) -> int | None:
    """Where the channels stand whose root mean square, or whose neighbours, a module divides by, or None.

    A root mean square over all channels is recognised by what a module returns, at two widths.
    """
    if type(module) is nn.LocalResponseNorm:
        return 1
    own_code = not type(module).__module__.startswith(_NOT_NORMS)
    weights = list(module.parameters())
    if (
        not (own_code or isinstance(module, nn.RMSNorm))
        or len(weights) > 1
        or len(list(module.modules())) > 1
    ):
        return None
    width = module.normalized_shape[-1] if isinstance(module, nn.RMSNorm) else 8
    width = max(weights[0].shape, default=1) if weights else width
    if width < 2 or (weights and weights[0].numel() != width):
        return None
    tried, draws = copy.deepcopy(module).cpu().float(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in tried.parameters():
            weight.copy_(torch.rand(weight.shape, generator=draws) + 0.5)
    few = torch.arange(0, width, 2)
    for axis, others in _EXAMPLES.items():
        shape = (*others, width) if axis == -1 else (others[0], width, *others[1:])
        x = torch.randn(shape, generator=draws)
        if _is_root_mean_square(tried, x, axis) and _is_root_mean_square(
            _narrowed(tried, few), x.index_select(axis, few), axis
        ):
            return axis
    return None


def _is_root_mean_square(module: nn.Module, x: Tensor, axis: int) -> bool:
    try:
        with eval_mode(module), torch.no_grad():
            made = module.forward(x)
    except Exception:  # whatever the code of a module raises that is no such norm
        return False
    if not isinstance(made, Tensor) or made.shape != x.shape:
        return False
    normed = x * x.square().mean(axis, keepdim=True).rsqrt()
    by = [weight.detach().flatten() for weight in module.parameters()]
    shape = [-1 if place == axis % x.dim() else 1 for place in range(x.dim())]
    factors = [weight.view(shape) for scale in by for weight in (scale, 1 + scale)] or [torch.ones(())]
    return any(torch.allclose(made, normed * factor, rtol=_ALIKE, atol=_ALIKE) for factor in factors)


def _narrowed(module: nn.Module, kept: Tensor) -> nn.Module:
    """The norm with only some of its channels, its own tensors left as they are."""
    thin = copy.copy(module)
    vars(thin).pop("forward", None)  # that of a module which stands in for it
    own = {name: weight for name, weight in module._parameters.items() if weight is not None}
    few = {name: weight.detach().index_select(_long_axis(weight), kept) for name, weight in own.items()}
    vars(thin)["_parameters"] = {**module._parameters, **few}
    if isinstance(thin, nn.RMSNorm):
        thin.normalized_shape = (len(kept),)
    return thin


def _long_axis(weight: Tensor) -> int:
    return max(range(weight.dim()), key=lambda axis: weight.shape[axis])
