"""Layers whose own code computes the weight they apply, from their parameters alone, made plain layers.

So do weight standardisation (NFNet, ResNetV2), equalised learning rates, masks and low-rank updates. Which
layers those are is seen by calling each alone: the weight that reaches the operation is no parameter of the
layer, is the same whatever the layer is given, and a plain layer with that weight returns the same.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import FitError
from .eval_mode import eval_mode

_OPS = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
    nn.ConvTranspose1d: F.conv_transpose1d,
    nn.ConvTranspose2d: F.conv_transpose2d,
    nn.ConvTranspose3d: F.conv_transpose3d,
    nn.Linear: F.linear,
}
_NOT_THE_USERS = ("torch.", f"{__name__.partition('.engine.')[0]}.")
_MARK = "computed_its_weight_from"  # on a layer that was made plain: the names of those tensors
_MORE = (0, 1, 2)  # pixels beyond the kernel: paddings that follow the size differ between these


def _padded(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """As TensorFlow pads, so that there are as many outputs as the stride makes of the inputs."""
    pads: list[int] = []
    for extent, kernel, stride, dilation in zip(
        x.shape[2:], conv.kernel_size, conv.stride, conv.dilation, strict=True
    ):
        missing = max((ceil(extent / stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
        pads = [missing // 2, missing - missing // 2, *pads]  # the last axis comes first
    return F.pad(x, pads) if any(pads) else x


class SameConv1d(nn.Conv1d):
    """Padded to what its stride asks for."""

    def forward(self, input: Tensor) -> Tensor:
        """See `torch.nn.Conv1d`."""
        return super().forward(_padded(self, input))


class SameConv2d(nn.Conv2d):
    """Padded to what its stride asks for."""

    def forward(self, input: Tensor) -> Tensor:
        """See `torch.nn.Conv2d`."""
        return super().forward(_padded(self, input))


class SameConv3d(nn.Conv3d):
    """Padded to what its stride asks for."""

    def forward(self, input: Tensor) -> Tensor:
        """See `torch.nn.Conv3d`."""
        return super().forward(_padded(self, input))


_PADS_TO_SAME: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: SameConv1d,
    nn.Conv2d: SameConv2d,
    nn.Conv3d: SameConv3d,
}


@dataclass(frozen=True)
class _Applied:
    """One call of a layer: what it was given, what reached the operation, and what it returned."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    made: Tensor


class _Watch(TorchFunctionMode):
    """Notes the weight and bias of every convolution and linear operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in _OPS.values():
            bias = args[2] if len(args) > 2 else named.get("bias")
            self.seen.append((args[1] if len(args) > 1 else named["weight"], bias))
        return func(*args, **named)


def computing(model: nn.Module) -> Iterator[tuple[str, type[nn.Module]]]:
    """Path of each layer whose own code computes its weight, and the kind of plain layer it amounts to."""
    for path, module in model.named_modules():
        if _is_own_code(module) and (kind := _amounts_to(module, must_differ=True)) is not None:
            yield path, kind


def made_plain(model: nn.Module) -> tuple[str, ...]:
    """Paths of the layers that are plain here, and whose code at home computes their weight."""
    return tuple(path for path, module in model.named_modules() if hasattr(module, _MARK))


def known_by_word_alone(model: nn.Module) -> tuple[str, ...]:
    """Those of `made_plain` that are called the same as computed ones: names of tensors do not tell them."""
    return tuple(p for p in made_plain(model) if not getattr(model.get_submodule(p), _MARK))


def make_plain(module: nn.Module, kind: type[nn.Module]) -> None:
    """Make a layer one of this plain kind, in place, with the weight that it computes now.

    Tensors that the weight was computed from are gone, and the layer learns the weight itself from now on.
    """
    applied = _called(copy.deepcopy(module), _example(module, _MORE[-1]))
    assert applied is not None
    others = _others(module)
    learns = any(parameter.requires_grad for parameter in module.parameters())
    for held in (module._parameters, module._buffers, module._modules):
        held.clear()
    _be(module, kind)
    module.weight = nn.Parameter(applied.weight.detach().clone(), requires_grad=learns)
    bias = None if applied.bias is None else nn.Parameter(applied.bias.detach().clone(), requires_grad=learns)
    module.register_parameter("bias", bias)
    setattr(module, _MARK, others)


def make_plain_as_stored(model: nn.Module, stored: Collection[str], named: Collection[str]) -> None:
    """Make those layers plain, in place, that are so in a file; their values are still to be loaded.

    Args:
        model: as its arch makes it.
        stored: names of the tensors in the file.
        named: paths of the layers that the file says are plain. It need not say so where tensors that a
            weight is computed from are not in it.

    Raises:
        FitError: one that it names is no such layer.
    """
    modules = dict(model.named_modules())
    for path in named:
        if path not in modules or not isinstance(modules[path], tuple(_OPS)):
            raise FitError(f"the file says that '{path}' has a plain weight, and there is no such layer")
    for path, module in modules.items():
        if _is_own_code(module) and (path in named or _lacks_sources(module, path, stored)):
            kind = _amounts_to(module, must_differ=False)
            if kind is not None:
                make_plain(module, kind)
            elif path in named:
                raise FitError(
                    f"the file says that '{path}' has a plain weight, and a {type(module).__name__} does not "
                    "compute its weight from parameters alone"
                )


def _is_own_code(module: nn.Module) -> bool:
    """Is it a layer with a forward method of the user's?"""
    own = isinstance(module, tuple(_OPS)) and type(module) not in _OPS
    return own and not type(module).__module__.startswith(_NOT_THE_USERS)


def _lacks_sources(module: nn.Module, path: str, stored: Collection[str]) -> bool:
    """Is the weight in a file, and nothing else that it could be computed from?"""
    prefix = f"{path}." if path else ""
    others = [f"{prefix}{name}" for name in _others(module)]
    return bool(others) and f"{prefix}weight" in stored and not any(name in stored for name in others)


def _others(module: nn.Module) -> tuple[str, ...]:
    """The tensors of a layer that a plain one does not have."""
    return tuple(name for name, _ in _tensors(module) if name not in ("weight", "bias"))


def _amounts_to(module: nn.Module, *, must_differ: bool) -> type[nn.Module] | None:
    """The kind of plain layer that does the same with the weight that it computes; None for no such layer.

    Values that happen to be in memory (zeros, or those of a network that is yet to be loaded) say nothing: a
    copy is tried with others.
    """
    if any(tensor.is_meta for _, tensor in _tensors(module)):
        return None
    with torch.random.fork_rng(devices=[]):
        first = _called(module, _example(module, _MORE[-1])) if must_differ else None
        if must_differ and (first is None or first.weight is getattr(module, "weight", None)):
            return None
        tried = copy.deepcopy(module).cpu().float()
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in tried.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draws))
        before = getattr(tried, "weight", None)
        before = before.detach().clone() if isinstance(before, Tensor) else None
        calls = [_called(tried, _example(tried, more)) for more in _MORE]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls) or not all(_alike(call, known[0]) for call in known):
        return None
    weight = known[0].weight
    if not torch.isfinite(weight).all() or _fan(module) != tuple(weight.shape):
        return None
    if must_differ and before is not None and before.shape == weight.shape and torch.equal(before, weight):
        return None
    base = next(kind for kind in _OPS if isinstance(module, kind))
    kinds = [kind for kind in (base, _PADS_TO_SAME.get(base)) if kind is not None]
    return next((kind for kind in kinds if all(_returns_as(tried, kind, call) for call in known)), None)


def _called(module: nn.Module, x: Tensor) -> _Applied | None:
    """One call of a layer, in evaluation; None where it applies no weight, or several, or does not run."""
    try:
        with eval_mode(module), torch.no_grad(), _Watch() as watch:
            made = module.forward(x)
    except Exception:  # whatever the layer's own code raises: it may take more than one argument
        return None
    if len(watch.seen) != 1 or not isinstance(made, Tensor) or not isinstance(watch.seen[0][0], Tensor):
        return None
    return _Applied(x, *watch.seen[0], made)


def _alike(one: _Applied, other: _Applied) -> bool:
    """Were weight and bias the same?"""
    if one.weight.shape != other.weight.shape or (one.bias is None) != (other.bias is None):
        return False
    same_bias = one.bias is None or other.bias is None or torch.equal(one.bias, other.bias)
    return same_bias and torch.equal(one.weight, other.weight)


def _returns_as(module: nn.Module, kind: type[nn.Module], call: _Applied) -> bool:
    """Does a plain layer return the same?"""
    plain = copy.copy(module)
    bias = None if call.bias is None else nn.Parameter(call.bias)
    plain._parameters = {"weight": nn.Parameter(call.weight), "bias": bias}
    plain._buffers, plain._modules = {}, {}
    _be(plain, kind)
    try:
        with torch.no_grad():
            made = plain.forward(call.x)
    except RuntimeError:  # a padding that does not go with this image
        return False
    return made.shape == call.made.shape and torch.allclose(made, call.made, rtol=1e-5, atol=1e-6)


def _be(module: Any, kind: type[nn.Module]) -> None:
    """Make a layer one of this plain kind, but for its tensors."""
    module.__class__ = kind
    if kind in _PADS_TO_SAME.values():
        vars(module)["padding"] = (0,) * len(module.kernel_size)


def _example(module: Any, more: int) -> Tensor:
    """Something that a layer alone can be given: of the kernel's size, and a few pixels more; rows."""
    like = next((tensor for _, tensor in _tensors(module) if tensor.is_floating_point()), torch.zeros(()))
    draws = torch.Generator().manual_seed(more)
    if isinstance(module, nn.Linear):
        shape = (2 + more, module.in_features)
    else:
        reach = zip(module.kernel_size, module.dilation, strict=True)
        shape = (2, module.in_channels, *(d * (k - 1) + 1 + more for k, d in reach))
    return torch.randn(shape, generator=draws).to(like)


def _fan(module: Any) -> tuple[int, ...]:
    """The shape of the weight that a layer's own numbers ask for."""
    if isinstance(module, nn.Linear):
        return (module.out_features, module.in_features)
    ins, outs = module.in_channels, module.out_channels
    turned = isinstance(module, nn.modules.conv._ConvTransposeNd)
    rows, columns = (ins, outs) if turned else (outs, ins)
    return (rows, columns // module.groups, *module.kernel_size)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())
