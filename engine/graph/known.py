"""Traces that are still true: of a network that is asked about again and again, as Python callers do."""

from collections.abc import Hashable
from weakref import WeakKeyDictionary

from torch import nn

from ..modules.inputs import Takes, inputs_of
from .trace import Trace, trace

_PLAIN = (bool, int, float, str, type(None), tuple, list, dict, set, frozenset)
_EVERY_MODULES = frozenset(vars(nn.Module())) - {"forward"}
_known: WeakKeyDictionary[nn.Module, tuple[Hashable, Trace]] = WeakKeyDictionary()


def known_trace(model: nn.Module, takes: Takes) -> Trace:
    """As `trace`, which is not repeated while the network stays what it is, whatever its weights.

    Raises:
        TraceError: as `trace`.
    """
    looks = _looks(model, takes)
    before = _known.get(model)
    if before is not None and before[0] == looks:
        return before[1]
    traced = trace(model, takes)
    _known[model] = (looks, traced)
    return traced


def _looks(model: nn.Module, takes: Takes) -> Hashable:
    """All that a trace depends on, but for code: modules, their settings and hooks, and kinds of tensors."""
    modules = tuple(
        (name, id(module), type(module).forward, _settings(module), _hooks(module))
        for name, module in model.named_modules()
    )
    tensors = tuple(
        (name, id(tensor), tuple(tensor.shape), tensor.dtype, tensor.device)
        for name, tensor in model.state_dict(keep_vars=True).items()
    )
    return repr(inputs_of(takes)), modules, tensors


def _settings(module: nn.Module) -> Hashable:
    own = ((name, value) for name, value in vars(module).items() if name not in _EVERY_MODULES)
    plain = tuple((name, repr(value)) for name, value in own if isinstance(value, _PLAIN))
    return plain, id(vars(module).get("forward"))


def _hooks(module: nn.Module) -> Hashable:
    return tuple(
        id(hook) for kind in (module._forward_hooks, module._forward_pre_hooks) for hook in kind.values()
    )
