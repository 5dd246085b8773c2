"""Give a full-width network the shapes of stored tensors, then load them: the shapes are the architecture."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...archs.units import Expand, Merge, PadShortcut
from ..errors import FitError
from .attention import follow
from .guests import nothing_instead
from .plain import fold
from .widths import set_widths

ANOTHER_ARCH = "is this another arch? name it with `arch`"
COUNTER = "num_batches_tracked"


def fit(model: nn.Module, state: Mapping[str, Tensor], folded: Mapping[str, str] | None = None) -> nn.Module:
    """Fit `model` to `state` in place and load it.

    Args:
        model: the network at full width; its values are overwritten, and it may be on the meta device.
        state: every parameter and buffer of the network; tied tensors may be given under one name only, and a
            missing `num_batches_tracked` counts as 0. Weights that the network computes from others (weight
            norm, ...) may be plain ones there: then they are so in the network, too.
        folded: BN name -> the conv it was folded into, for networks that do not pair them in one unit.
    Returns:
        The same module.
    Raises:
        FitError: a tensor is missing, left over, or of a rank that the network's own does not have, or an
            index does not hold positions.
    """
    state = take_shapes(model, state, folded)
    try:
        load(model, state)
    except RuntimeError as error:  # a shape the module itself refuses
        raise FitError(str(error).splitlines()[-1].strip()) from error
    return model


def take_shapes(
    model: nn.Module, state: Mapping[str, Tensor], folded: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """As `fit`, but for the values: those that `model` has now are of no use.

    Args:
        state: its parameters may be on the meta device, where they are nothing but shapes.

    Returns:
        the state to load, shared tensors and counters completed.
    """
    fold(model, state)
    _drop_folded(model, state, folded or {})
    ties = ties_of(model)
    state = dict(state)
    for name, first in ties.items():
        if first not in state and name in state:
            state[first] = state[name]
    _check_complete(model, state, ties)
    _check_indices(model, state)
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        _fit_module(module, prefix, state)
    for name, first in ties.items():
        owner, _, slot = name.rpartition(".")
        setattr(model.get_submodule(owner), slot, _lookup(model, first))
    follow(model)
    return state


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a plain mapping as what it is: a state dict in the form that the model's own modules write today.

    Without the versions that PyTorch keeps in its own, some modules (torchvision's MNASNet) would take it for
    one in an older form, and convert it.
    """
    current = OrderedDict(state)
    current._metadata = model.state_dict()._metadata  # pyright: ignore[reportAttributeAccessIssue]
    model.load_state_dict(current, strict=False)


def ties_of(model: nn.Module) -> dict[str, str]:
    """Later name -> first name, of every parameter and buffer that several modules share."""
    first: dict[int, str] = {}
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    pairs = [(name, first.setdefault(id(tensor), name)) for name, tensor in tensors]
    return {name: original for name, original in pairs if name != original}


def _fit_module(module: nn.Module, prefix: str, state: dict[str, Tensor]) -> None:
    """Resize one module's own tensors, and the numbers its forward uses."""
    full = {slot: tensor.shape for slot, tensor in module.named_parameters(recurse=False)}
    for slot, tensor in list(module.named_parameters(recurse=False)):
        stored = state.get(prefix + slot)
        if stored is not None and (stored.shape != tensor.shape or tensor.is_meta):
            empty = torch.empty(stored.shape, dtype=tensor.dtype, device=_real(tensor))
            setattr(module, slot, nn.Parameter(empty, requires_grad=tensor.requires_grad))
    for slot, buffer in list(module.named_buffers(recurse=False)):
        stored = state.get(prefix + slot)
        if slot == COUNTER and stored is None:
            state[prefix + slot] = torch.zeros((), dtype=torch.int64)
        if stored is not None and (stored.shape != buffer.shape or buffer.is_meta):
            setattr(module, slot, torch.empty(stored.shape, dtype=buffer.dtype, device=_real(buffer)))
    set_widths(module, full)


def _drop_folded(model: nn.Module, state: Mapping[str, Tensor], folded: Mapping[str, str]) -> None:
    """Replace each BN whose keys are all absent, and whose conv has a bias in the file, by nothing."""
    units = [f"{name}." if name else "" for name, module in model.named_modules() if _is_pair(module)]
    pairs = {f"{unit}bn": f"{unit}conv" for unit in units} | dict(folded)
    for bn_name, conv_name in pairs.items():
        bn = model.get_submodule(bn_name)
        own = [*bn.named_parameters(recurse=False), *bn.named_buffers(recurse=False)]
        keys = [f"{bn_name}.{slot}" for slot, _ in own if slot != COUNTER]
        present = [key for key in keys if key in state]
        bias = state.get(f"{conv_name}.bias")
        if len(present) == len(keys) or not keys or f"{conv_name}.weight" not in state:
            continue
        if present:
            missing = next(key for key in keys if key not in state)
            raise FitError(
                f"{missing} is missing, but {present[0]} is there: a BN is either whole or folded away"
            )
        if bias is None:
            raise FitError(f"{keys[0]} is missing, and {conv_name} has no bias that it could be folded into")
        nothing_instead(model, bn_name)
        conv = model.get_submodule(conv_name)
        if conv.bias is None:
            conv.bias = nn.Parameter(torch.empty(bias.shape))


def _is_pair(module: nn.Module) -> bool:
    return isinstance(getattr(module, "conv", None), nn.modules.conv._ConvNd) and isinstance(
        getattr(module, "bn", None), nn.modules.batchnorm._NormBase
    )


def _check_complete(model: nn.Module, state: Mapping[str, Tensor], ties: Mapping[str, str]) -> None:
    """Every tensor of the network is in the state, of the right rank and kernel, and nothing else is."""
    expected = model.state_dict(keep_vars=True)
    optional = {name for name, _ in model.named_buffers()} | {
        f"{name}.index" for name, module in model.named_modules() if isinstance(module, Merge | PadShortcut)
    }
    for name, tensor in expected.items():
        stored = state.get(ties.get(name, name))
        if stored is None and not name.endswith(COUNTER):
            raise FitError(f"{name} is in the network but not in the file; {ANOTHER_ARCH}")
        if stored is not None and (stored.dim() != tensor.dim() or stored.shape[2:] != tensor.shape[2:]):
            shapes = f"{tuple(stored.shape)} in the file, {tuple(tensor.shape)} in the network"
            raise FitError(f"{name} is {shapes}: not the same kind of layer; {ANOTHER_ARCH}")
    for name in state:
        if name not in expected and name not in optional and name not in ties:
            raise FitError(f"{name} is in the file but not in the network; {ANOTHER_ARCH}")


def _check_indices(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Every stored index is a line of channel positions: others would run, and pick other channels."""
    for name, module in model.named_modules():
        stored = state.get(f"{name}.index")
        if stored is None or not isinstance(module, Merge | PadShortcut | Expand):
            continue
        lowest = 0 if isinstance(module, Merge) else -1  # a channel of zeros
        whole = stored.dtype in (torch.int32, torch.int64)
        if not whole or stored.dim() != 1 or (stored < lowest).any():
            raise FitError(f"{name}.index must be a list of channel positions from {lowest} on, and is not")


def _lookup(model: nn.Module, name: str) -> Tensor:
    owner, _, slot = name.rpartition(".")
    return getattr(model.get_submodule(owner), slot)


def _real(tensor: Tensor) -> torch.device:
    return torch.device("cpu") if tensor.is_meta else tensor.device
