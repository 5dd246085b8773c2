"""The processor that work runs on: by name, and a network's own."""

import torch
from torch import Tensor, nn

from .errors import EngineError


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is really there; `auto` prefers a GPU.

    Raises:
        EngineError: the name means no device, or the GPU it asks for is absent.
    """
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if present else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (":" in name and not (kind == "cuda" and index.isdecimal())):
        raise EngineError(f"no device '{name}'; allowed: auto, cpu, cuda, cuda:N")
    if kind == "cuda" and not present:
        raise EngineError(f"device '{name}' was asked for, but PyTorch sees no GPU; use `device` cpu")
    if kind == "cuda" and int(index or 0) >= present:
        raise EngineError(
            f"device '{name}' was asked for, but there are only {present} GPUs, cuda:0 the first"
        )
    return torch.device(name)


def first_weight(model: nn.Module) -> Tensor:
    """What a network's images must be like: of this type, in this place; a number where it has no weights."""
    return next(model.parameters(), torch.zeros(()))


def device_of(model: nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for a network without any."""
    return first_weight(model).device


def synchronize(device: torch.device) -> None:
    """Wait until everything queued on a GPU is done, so that a clock read next to it means something."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
