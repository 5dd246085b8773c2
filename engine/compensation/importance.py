"""What a squared error of each output of a layer costs, in the network's own opinion.

The Fisher information: labels are drawn from the network's own softmax, so none are needed. Singh and
Alistarh, WoodFisher, arXiv 2004.14340, section 2; its use as a weight of layer-wise errors as in OBC, arXiv
2208.11580, and BRECQ, arXiv 2102.05426, section 3.1.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from ..modules.inputs import content_of
from ..processes.distributed import add_up
from .divergence import own_loss
from .program import Program
from .scan import watch
from .streams import Batch


def fisher(
    program: Program, batches: Sequence[Batch], axes: Mapping[fx.Node, int], seed: int = 0
) -> dict[fx.Node, Tensor]:
    """importance_C of each operation's channels: E over images of the sum over positions of (dCE/dy)^2.

    Half of an error's importance-weighted square is, to second order, the divergence that it causes; see
    `engine.compensation.divergence`.

    Args:
        program: of the network in evaluation.
        batches: images_NCHW, or other calls; in each process its share.
        axes: operation -> the axis of its channels.
        seed: of what is drawn.
    """
    sums = {node: torch.zeros((), dtype=torch.float64) for node in axes}
    for given in batches:
        fed = {node: _differentiable(value) for node, value in program.fed(given).items()}
        with torch.enable_grad():
            values = watch(program, fed, lambda node, values: None)
            loss = own_loss([values[node] for node in program.outputs], content_of(given), seed)
            outputs = [values[node] for node in axes]
            gradients = torch.autograd.grad(loss, outputs, allow_unused=True)
        for (node, axis), made, gradient in zip(axes.items(), outputs, gradients, strict=True):
            slope = torch.zeros_like(made) if gradient is None else gradient
            sums[node] = sums[node].to(slope.device) + slope.double().square().movedim(axis, 0).flatten(
                1
            ).sum(1)
    images = int(add_up(torch.tensor(sum(map(len, batches)))))
    return {node: add_up(sum_C) / images for node, sum_C in sums.items()}


def _differentiable(value: Tensor) -> Tensor:
    return value.detach().requires_grad_() if value.is_floating_point() else value
