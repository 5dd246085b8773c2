"""Batch-norm statistics re-estimated after surgery: narrower inputs have other means and variances."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import DataError
from ..modules.eval_mode import eval_mode
from ..modules.inputs import Call, answer
from ..processes.synchronised_norm import synchronised_norms


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor | Call, Any]]) -> int:
    """Replace every running mean and variance by its average over the batches, all batches weighing alike.

    Every batch is normalised by its own statistics, as in training, while dropout stays off; the variance is
    unbiased, as PyTorch keeps it. `num_batches_tracked` ends as the number of passes, momentum and modes as
    they were. Where several processes share every batch, the statistics are those of the whole batch.

    Args:
        batches: images_NCHW, or other calls, and labels on the model's device; labels are not looked at.

    Returns:
        How many batch norms there are; with none, no image is looked at.

    Raises:
        DataError: there is no batch; the statistics are as before.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    images = (images_NCHW for images_NCHW, _ in batches)
    first_NCHW = next(images, None)
    if first_NCHW is None:
        raise DataError("there are no images to recalibrate the batch norms on")
    momenta = [norm.momentum for norm in norms]
    try:
        with eval_mode(model), synchronised_norms():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # PyTorch's spelling of a cumulative average
                norm.train()
            answer(model, first_NCHW)
            for images_NCHW in images:
                answer(model, images_NCHW)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return len(norms)
