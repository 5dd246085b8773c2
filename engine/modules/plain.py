"""What networks and weights are wrapped in, taken off: parallel and compiled wrappers, computed weights.

A weight that is computed from others before every forward pass (weight norm, spectral norm, any other
parametrisation, a mask), or in a layer's own forward method (weight standardisation), is folded into a plain
one. That is exact in evaluation.
"""

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from .eval_mode import eval_mode
from .own_weights import computing, make_plain

WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}


@dataclass(frozen=True)
class _Computed:
    """One weight that is computed: of which module, under which name there, from which tensors of it."""

    module: str
    weight: str
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.module}.{self.weight}".removeprefix(".")


def unwrapped(model: nn.Module) -> nn.Module:
    """The network in `nn.DataParallel`, `DistributedDataParallel` or `torch.compile`; any other as it is."""
    slot = WRAPPERS.get(type(model).__name__)
    return unwrapped(getattr(model, slot)) if slot else model


def plain(model: nn.Module, *, own_code: bool = True) -> tuple[nn.Module, tuple[str, ...]]:
    """The network without wrappers and, in a copy where there are any, without computed weights.

    Args:
        own_code: those included that a layer's own forward method computes.

    Returns:
        the network itself, or the copy; and the names of the weights that were folded.
    """
    model = unwrapped(model)
    computed = list(_computed_in(model))
    kinds = dict(computing(model)) if own_code else {}
    if not computed and not kinds:
        return model, ()
    for old in computed:  # what the last forward pass left there could not be copied
        module = model.get_submodule(old.module)
        last = vars(module).get(old.weight)
        if isinstance(last, Tensor) and not isinstance(last, nn.Parameter):
            vars(module)[old.weight] = last.detach()
    copied = copy.deepcopy(model)
    folded = fold(copied)
    for path, kind in kinds.items():
        make_plain(copied.get_submodule(path), kind)
    return copied, (*folded, *(f"{path}.weight".removeprefix(".") for path in kinds))


def fold(model: nn.Module, stored: Collection[str] | None = None) -> tuple[str, ...]:
    """Make computed weights plain ones, in place.

    Args:
        stored: names of the tensors that the network is about to be given: only weights that are plain there
            are folded. By default all are.

    Returns:
        their names.
    """
    folded = [c for c in _computed_in(model) if stored is None or _is_plain_in(stored, c)]
    with eval_mode(model), torch.no_grad():  # in training, a spectral norm changes with every look at it
        for computed in folded:
            _fold(model.get_submodule(computed.module), computed.weight)
    return tuple(computed.name for computed in folded)


def _computed_in(model: nn.Module) -> Iterator[_Computed]:
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for weight, listed in module.parametrizations.items():  # pyright: ignore
                sources = dict(listed.named_parameters()) | dict(listed.named_buffers())
                yield _Computed(path, weight, tuple(f"parametrizations.{weight}.{s}" for s in sources))
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                yield _Computed(path, hook.name, (f"{hook.name}_g", f"{hook.name}_v"))
            elif isinstance(hook, SpectralNorm):
                yield _Computed(path, hook.name, (f"{hook.name}_orig", f"{hook.name}_u"))
            elif isinstance(hook, prune.BasePruningMethod):
                yield _Computed(path, hook._tensor_name, (f"{hook._tensor_name}_orig",))


def _is_plain_in(stored: Collection[str], computed: _Computed) -> bool:
    prefix = f"{computed.module}." if computed.module else ""
    return computed.name in stored and not any(prefix + source in stored for source in computed.sources)


def _fold(module: nn.Module, weight: str) -> None:
    if parametrize.is_parametrized(module, weight):
        _unparametrise(module, weight)
        return
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm) and hook.name == weight:
            remove_weight_norm(module, weight)
        elif isinstance(hook, SpectralNorm) and hook.name == weight:
            remove_spectral_norm(module, weight)
            _forget_loading(module, hook)
        elif isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == weight:
            prune.remove(module, weight)


def _forget_loading(module: nn.Module, norm: SpectralNorm) -> None:
    """PyTorch leaves behind what expects a spectral norm's tensors in every state dict that is loaded."""
    for key, hook in list(module._load_state_dict_pre_hooks.items()):
        expects = getattr(hook, "hook", hook)
        if isinstance(expects, SpectralNormLoadStateDictPreHook) and expects.fn is norm:
            del module._load_state_dict_pre_hooks[key]


def _unparametrise(module: nn.Module, weight: str) -> None:
    """As `remove_parametrizations`, which would also break the module that this one is a copy of.

    Both are of one class, made for the first, from which it deletes the weight that is computed.
    """
    parametrised, listed = type(module), module.parametrizations
    assert isinstance(listed, nn.ModuleDict)
    learns = any(parameter.requires_grad for parameter in listed[weight].parameters())
    value = getattr(module, weight).detach().clone()
    del listed[weight]
    if len(listed):
        rest = {name: member for name, member in vars(parametrised).items() if name != weight}
        module.__class__ = type(parametrised.__name__, parametrised.__bases__, rest)  # pyright: ignore
    else:
        del module._modules["parametrizations"]
        module.__class__ = parametrised.__bases__[0]
    module.register_parameter(weight, nn.Parameter(value, requires_grad=learns))
