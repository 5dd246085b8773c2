"""ResRep's part in a training step: compactors' gradients are reset, and now and then masks are set anew."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...archs.units import Compactor
from ..events import MasksSet
from .hooks import ScheduleHooks
from .rule import MaskRule


class Penalty(Protocol):
    """When masks are set, and how hard all rows are pulled to zero; see `schedules.gradient_resetting`."""

    @property
    def lasso(self) -> float: ...
    @property
    def mask_after(self) -> int: ...
    @property
    def mask_interval(self) -> int: ...


class ResettingGradients(ScheduleHooks):
    """The hooks that make a training ResRep's.

    They keep no state: the masks are the compactors' own buffers, and so part of every checkpoint.
    """

    def __init__(
        self,
        compactors: Sequence[Compactor],
        rule: MaskRule,
        penalty: Penalty,
        steps_per_epoch: int,
    ) -> None:
        """Steer the training of `compactors`, given in network order as `rule` knows them."""
        self._compactors = tuple(compactors)
        self._rule = rule
        self._penalty = penalty
        self._steps_per_epoch = steps_per_epoch

    @property
    def facts(self) -> dict[str, float]:
        """The MACs that were to be reached, and what the masks leave."""
        return {"target": self._rule.target, "masked": self._rule.macs_of(active_rows(self._compactors))}

    def after_backward(self, step: int) -> None:
        """Reset the gradients of masked rows, and pull all rows to zero."""
        reset_gradients(self._compactors, self._penalty.lasso)

    def after_step(self, step: int) -> MasksSet | None:
        """Set all masks anew where it is time."""
        waited = step + 1 - self._penalty.mask_after * self._steps_per_epoch
        if waited < 0 or waited % self._penalty.mask_interval:
            return None
        masks = self._rule.decide(row_norms(self._compactors), active_rows(self._compactors))
        set_masks(self._compactors, masks.active)
        return MasksSet(
            epoch=step // self._steps_per_epoch + 1,
            step=step % self._steps_per_epoch + 1,
            steps=self._steps_per_epoch,
            masked=masks.masked,
            macs=masks.macs,
            macs_share=masks.macs / self._rule.whole,
        )


@torch.no_grad()
def reset_gradients(compactors: Sequence[Compactor], lasso: float) -> None:
    """Turn compactors' gradients into `mask * gradient + lasso * row / |row|`, row by row, masked or not.

    Ding et al., ICCV 2021, arXiv 2007.03260, section 3.3. Compactors of one width are treated in one go,
    and nothing waits for the device.

    Departs from the authors' code: a row of zeros is not pulled, where theirs becomes NaN, and one shorter
    than 1e-12 less than the others.
    """
    same_width: dict[int, list[Compactor]] = defaultdict(list)
    for compactor in compactors:
        same_width[len(compactor.mask)].append(compactor)
    for alike in same_width.values():
        rows_nDD11 = torch.stack([compactor.pwc.weight for compactor in alike])
        grads_nDD11 = torch.stack([_grad(compactor) for compactor in alike])
        masks_nD = torch.stack([compactor.mask for compactor in alike])
        pulls_nDD11 = F.normalize(rows_nDD11, dim=2, eps=1e-12).mul_(lasso)
        reset_nDD11 = pulls_nDD11.addcmul_(masks_nD[:, :, None, None, None], grads_nDD11)
        for compactor, reset_DD11 in zip(alike, reset_nDD11.unbind(), strict=True):
            compactor.pwc.weight.grad = reset_DD11


def row_norms(compactors: Sequence[Compactor]) -> np.ndarray:
    """The Euclidean norms of all rows, end to end, fetched in one transfer."""
    norms = [compactor.pwc.weight.detach().flatten(1).norm(dim=1) for compactor in compactors]
    return torch.cat(norms).cpu().numpy()


def active_rows(compactors: Sequence[Compactor]) -> np.ndarray:
    """The masks of all rows, end to end: true where a row still learns."""
    return torch.cat([compactor.mask for compactor in compactors]).cpu().numpy() != 0


def set_masks(compactors: Sequence[Compactor], active: np.ndarray) -> None:
    """Give every compactor its stretch of the masks."""
    widths = [len(compactor.mask) for compactor in compactors]
    stretches = torch.from_numpy(active).split(widths)
    for compactor, stretch in zip(compactors, stretches, strict=True):
        compactor.mask.copy_(stretch)


def _grad(compactor: Compactor) -> Tensor:
    grad = compactor.pwc.weight.grad
    assert grad is not None  # every compactor lies on the way to the loss
    return grad
