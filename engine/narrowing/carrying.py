"""Into what the user holds: a module that becomes narrow in its place, and the optimizer that trains it."""

import gc
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...archs.units import Merge
from ..errors import TrainingError
from ..modules.fit import fit
from ..modules.guests import EXPANSIONS
from ..modules.numbers import numbers_of, set_numbers
from ..network.network import Network
from .outcome import Outcome
from .surgery import cut_tensor


def moved_into(network: Network, outcome: Outcome) -> Outcome:
    """Make the full network's own module the narrow one: the same module, parameter by parameter.

    Args:
        network: its model keeps its modules, their modes and hooks, and its parameters, which change their
            shapes and lose their gradients.
        outcome: what has been cut out of a copy of it, and proven.

    Returns:
        The same outcome, of that module instead of the copy.
    """
    model, thin = network.model, outcome.network.model
    held = dict(model.named_parameters(remove_duplicate=False))
    for name, module in thin.named_modules():
        if isinstance(module, Merge) and module.index is None:
            merge = model.get_submodule(name)
            assert isinstance(merge, Merge)
            merge.index = None
    EXPANSIONS.take_away(model, EXPANSIONS.placed(model).keys() - EXPANSIONS.placed(thin).keys())
    state = thin.state_dict()
    EXPANSIONS.place_stored(model, state)
    fit(model, state, outcome.network.folded)
    set_numbers(model, numbers_of(thin))
    for name, fitted in list(model.named_parameters(remove_duplicate=False)):
        parameter = held[name]
        parameter.grad = None
        if parameter is not fitted:
            _give(parameter, fitted.data)
            owner, _, slot = name.rpartition(".")
            setattr(model.get_submodule(owner), slot, parameter)
    return replace(outcome, network=replace(outcome.network, model=model, whole=network.whole))


def carry_over(optimizer: Optimizer, outcome: Outcome) -> None:
    """Let an optimizer of the full network train the narrow one, with what it has gathered so far.

    Its parameters become the narrow network's; momenta, moments and whatever else has the shape of a
    parameter lose the channels that the parameter has lost. Groups, their settings and learning-rate
    schedulers stay.

    Args:
        optimizer: changes in place; parameters of other modules stay as they are.
        outcome: as `prune.prune` returns it.

    Raises:
        TrainingError: the optimizer holds no parameter of the full network, or something of a shape that
            channels cannot be cut out of; it is as it was.
    """
    names = {id(parameter): name for name, parameter in outcome.parameters.items()}
    narrow = dict(outcome.model.named_parameters(remove_duplicate=False))
    held = [parameter for parameter in _parameters(optimizer) if id(parameter) in names]
    if not held:
        raise TrainingError(
            f"this {type(optimizer).__name__} holds no parameter of the network that was pruned; carry over "
            "the one that trained it, once"
        )
    states = {
        parameter: {
            entry: _carried(value, entry, names[id(parameter)], outcome)
            for entry, value in optimizer.state[parameter].items()
        }
        for parameter in held
        if parameter in optimizer.state
    }
    for parameter in states:
        del optimizer.state[parameter]
    for parameter, state in states.items():
        optimizer.state[narrow[names[id(parameter)]]] = state
    for group in optimizer.param_groups:
        group["params"] = [narrow[names[id(p)]] if id(p) in names else p for p in group["params"]]


def warn_when_left_behind(outcome: Outcome) -> None:
    """Let every optimizer of the full network warn if it steps next without having been carried over.

    It would train parameters that the narrow network does not have or, in place, mix up shapes.
    """
    full = {id(parameter): parameter for parameter in outcome.parameters.values()}
    for optimizer in _optimizers():
        if any(id(parameter) in full for parameter in _parameters(optimizer)):
            for before in list(optimizer._optimizer_step_pre_hooks.values()):
                if isinstance(before, _LeftBehind):
                    before.handle.remove()
            hook = _LeftBehind(full, {id(parameter) for parameter in outcome.model.parameters()})
            hook.handle = optimizer.register_step_pre_hook(hook)


class _LeftBehind:
    """What an optimizer does before its next step, once."""

    handle: Any

    def __init__(self, full: Mapping[int, nn.Parameter], narrow: set[int]) -> None:
        self._full, self._narrow = full, narrow

    def __call__(self, optimizer: Optimizer, *_: object) -> None:
        self.handle.remove()
        if any(self._is_stale(optimizer, parameter) for parameter in _parameters(optimizer)):
            warnings.warn(
                f"this {type(optimizer).__name__} still belongs to the network as it was before prune.prune; "
                "call prune.carry_over(optimizer, thin), or make a new one for the narrow network",
                stacklevel=4,
            )

    def _is_stale(self, optimizer: Optimizer, parameter: nn.Parameter) -> bool:
        if id(parameter) not in self._full:
            return False
        if id(parameter) not in self._narrow:
            return True
        gathered = optimizer.state.get(parameter, {}).values()
        shapes = [value.shape for value in gathered if isinstance(value, Tensor) and value.dim()]
        return any(len(shape) == parameter.dim() and shape != parameter.shape for shape in shapes)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizers() -> list[Optimizer]:
    """Every optimizer there is; wrappers that only look like one are left to what they wrap.

    An object refers to its class: to ask who does is three times as quick as to look at all objects.
    """
    own = {"param_groups", "state", "_optimizer_step_pre_hooks"}
    found = [
        thing
        for thing in gc.get_referrers(*_with_subclasses(Optimizer))
        if issubclass(type(thing), Optimizer)
    ]
    return [optimizer for optimizer in found if own <= vars(optimizer).keys()]


def _with_subclasses(kind: type) -> Iterator[type]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _with_subclasses(narrower)


def _carried(value: Any, entry: str, name: str, outcome: Outcome) -> Any:
    """What an optimizer has gathered for one parameter, without the channels that left."""
    part = f"{outcome.network.part}." if outcome.network.part else ""
    if not isinstance(value, Tensor) or value.dim() == 0 or not name.startswith(part):
        return value
    name, channel_map = name.removeprefix(part), outcome.map
    gone = channel_map.removal_mask(outcome.removed)
    narrow = cut_tensor(torch.empty(channel_map.shapes[name], device="meta"), name, channel_map, gone).shape
    if value.shape == narrow:
        return value
    if value.shape != channel_map.shapes[name]:
        raise TrainingError(
            f"the optimizer keeps '{entry}' of shape {tuple(value.shape)} for '{name}', whose own is "
            f"{tuple(channel_map.shapes[name])}: no channels can be cut out of it; make a new optimizer"
        )
    return cut_tensor(value, name, channel_map, gone)


def _give(parameter: nn.Parameter, values: Tensor) -> None:
    """Let a parameter hold other values, of any shape, and stay the same object.

    In between it is of another type: PyTorch then forgets how gradients reach it, which a graph that is still
    alive (of the last loss, say) would have kept for the old shape.
    """
    between = torch.float64 if values.dtype != torch.float64 else torch.float32
    parameter.data = torch.empty(0, dtype=between, device=values.device)
    parameter.data = values
