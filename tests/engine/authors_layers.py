"""Layers over a state dict of their authors' names: made with random weights, and applied."""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
_RANDOM = torch.Generator().manual_seed(0)


def conv(state: State, name: str, into: int, out: int, kernel: int, bias: bool = False) -> None:
    fan = into * kernel * kernel
    state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=_RANDOM) * (2 / fan) ** 0.5
    if bias:
        state[f"{name}.bias"] = torch.rand(out, generator=_RANDOM) * 0.2 - 0.1


def norm(state: State, name: str, width: int) -> None:
    """A BN that does something: on a fresh one even wrong channels give the right numbers."""
    state[f"{name}.weight"] = torch.rand(width, generator=_RANDOM) * 0.5 + 0.75
    state[f"{name}.bias"] = torch.rand(width, generator=_RANDOM) * 0.4 - 0.2
    state[f"{name}.running_mean"] = torch.rand(width, generator=_RANDOM) * 0.4 - 0.2
    state[f"{name}.running_var"] = torch.rand(width, generator=_RANDOM) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def linear(state: State, name: str, into: int, out: int) -> None:
    state[f"{name}.weight"] = torch.randn(out, into, generator=_RANDOM) * into**-0.5
    state[f"{name}.bias"] = torch.rand(out, generator=_RANDOM)


def apply_conv(state: State, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def apply_norm(state: State, name: str, x: Tensor) -> Tensor:
    statistics = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, *statistics, state[f"{name}.weight"], state[f"{name}.bias"])


def apply_linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
