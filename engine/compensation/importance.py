"""What a squared error of each output of a layer costs, in the network's own opinion.

The Fisher information: labels are drawn from the network's own softmax, so none are needed. Singh and
Alistarh, WoodFisher, arXiv 2004.14340, section 2; its use as a weight of layer-wise errors as in OBC, arXiv
2208.11580, and BRECQ, arXiv 2102.05426, section 3.1.
"""

import zlib
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..processes.distributed import add_up
from .program import Program
from .scan import watch


def fisher(
    program: Program, batches: Sequence[Tensor], axes: Mapping[fx.Node, int], seed: int = 0
) -> dict[fx.Node, Tensor]:
    """importance_C of each operation's channels: E over images of the sum over positions of (dCE/dy)^2.

    Half of an error's importance-weighted square is, to second order, the KL divergence that it causes.

    Args:
        program: of the network in evaluation.
        batches: images_NCHW; in each process its share.
        axes: operation -> the axis of its channels.
        seed: of the labels.
    """
    sums = {node: torch.zeros((), dtype=torch.float64) for node in axes}
    for images_NCHW in batches:
        with torch.enable_grad():
            values = watch(program, images_NCHW.detach().requires_grad_(), lambda node, values: None)
            logits_NK = values[program.output]
            loss = F.cross_entropy(logits_NK, own_labels(logits_NK, images_NCHW, seed), reduction="sum")
            outputs = [values[node] for node in axes]
            gradients = torch.autograd.grad(loss, outputs, allow_unused=True)
        for (node, axis), made, gradient in zip(axes.items(), outputs, gradients, strict=True):
            slope = torch.zeros_like(made) if gradient is None else gradient
            sums[node] = sums[node].to(slope.device) + slope.double().square().movedim(axis, 0).flatten(
                1
            ).sum(1)
    images = int(add_up(torch.tensor(sum(map(len, batches)))))
    return {node: add_up(sum_C) / images for node, sum_C in sums.items()}


def own_labels(logits_NK: Tensor, images_NCHW: Tensor, seed: int) -> Tensor:
    """One label per image out of the network's own softmax.

    What is drawn depends on the image itself and not on its place, so that it is the same in any batch and
    in any process.
    """
    pixels = images_NCHW.detach().float().cpu().numpy()
    draws = torch.tensor([zlib.crc32(image.tobytes(), seed) / 2**32 for image in pixels], dtype=torch.float64)
    cumulated_NK = logits_NK.detach().double().softmax(1).cumsum(1)
    labels_N = (cumulated_NK < draws[:, None].to(cumulated_NK.device)).sum(1)
    return labels_N.clamp_max(logits_NK.shape[1] - 1)
