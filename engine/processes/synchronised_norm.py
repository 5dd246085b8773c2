"""Batch normalisation by the statistics of the whole batch, when several processes share it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

from .distributed import add_up, processes


def synchronised_norms() -> AbstractContextManager[object]:
    """Within it, every batch norm that trains takes its statistics from the batches of all processes as one.

    It acts on the function that batch norms call, not on modules: the network stays as it is, for whoever
    copies, saves or traces it.
    """
    return _Synchronised() if processes() > 1 else nullcontext()


class _Synchronised(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """What `F.batch_norm` does, over all processes; PyTorch's own synchronised version needs a GPU."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if input.is_cuda:
        world = dist.group.WORLD
        return SyncBatchNorm.apply(  # pyright: ignore[reportReturnType]
            input, weight, bias, running_mean, running_var, eps, momentum, world, processes()
        )
    mean_C, var_C, count = _statistics(input.float())
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean_C.to(running_mean.dtype), momentum)
            running_var.lerp_((var_C * (count / (count - 1))).to(running_var.dtype), momentum)
    scale_C = (var_C + eps).rsqrt().float()
    scale_C = scale_C if weight is None else scale_C * weight
    shift_C = -mean_C.float() * scale_C
    shift_C = shift_C if bias is None else shift_C + bias
    per_channel = (1, -1) + (1,) * (input.dim() - 2)
    return torch.addcmul(shift_C.view(per_channel), input.float(), scale_C.view(per_channel)).to(input.dtype)


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of every channel, float64, and the number of values behind them.

    The sums of squares of the processes are added in float64, where nothing is lost in taking off the mean.
    """
    channels, own_count = values.shape[1], values.numel() // values.shape[1]
    over = [dim for dim in range(values.dim()) if dim != 1]
    var_C, mean_C = (moment_C.double() for moment_C in torch.var_mean(values, over, correction=0))
    sums = torch.cat([mean_C, var_C + mean_C**2, mean_C.new_ones(1)]) * own_count
    sums = _Total.apply(sums)
    assert isinstance(sums, Tensor)
    mean_C, square_C = (sums[:-1] / sums[-1]).split(channels)
    return mean_C, square_C - mean_C**2, sums[-1].detach()


class _Total(torch.autograd.Function):
    """The sum over all processes. Every process's loss depends on it, so its gradient is a sum as well."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return add_up(own.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return add_up(gradients[0].clone())
