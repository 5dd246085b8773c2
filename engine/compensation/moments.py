"""Second moments gathered batch by batch, in float64, and added up over processes."""

import torch
from torch import Tensor

from ..algebra.least_squares import Moments
from ..processes.distributed import add_up


class Gathering:
    """Sums over positions of inputs, targets and their products."""

    def __init__(self, groups: int, width: int, outs: int, device: torch.device):
        """For `groups` maps from `width` inputs to `outs` outputs each."""

        def zeros(*extents: int) -> Tensor:
            return torch.zeros(*extents, dtype=torch.float64, device=device)

        self._gram_GDD, self._cross_GDO = zeros(groups, width, width), zeros(groups, width, outs)
        self._power_GO, self._inputs_GD, self._outputs_GO = (
            zeros(groups, outs),
            zeros(groups, width),
            zeros(groups, outs),
        )
        self._count = 0

    def add(self, rows_GPD: Tensor, targets_GPO: Tensor) -> None:
        """Take in P positions."""
        rows_GPD, targets_GPO = rows_GPD.double(), targets_GPO.double()
        self._gram_GDD.baddbmm_(rows_GPD.mT, rows_GPD)
        self._cross_GDO.baddbmm_(rows_GPD.mT, targets_GPO)
        self._power_GO += targets_GPO.square().sum(1)
        self._inputs_GD += rows_GPD.sum(1)
        self._outputs_GO += targets_GPO.sum(1)
        self._count += rows_GPD.shape[1]

    def moments(self, intercept: bool) -> Moments:
        """Means over all positions of all processes, centred where the fit has an intercept."""
        count = int(add_up(torch.tensor(self._count)))
        gram_GDD, cross_GDO, power_GO, mean_GD, mean_GO = (
            add_up(sums) / count
            for sums in (self._gram_GDD, self._cross_GDO, self._power_GO, self._inputs_GD, self._outputs_GO)
        )
        if intercept:
            gram_GDD -= mean_GD[:, :, None] * mean_GD[:, None]
            cross_GDO -= mean_GD[:, :, None] * mean_GO[:, None]
            power_GO -= mean_GO.square()
        return Moments(gram_GDD, cross_GDO, power_GO, mean_GD, mean_GO, count, intercept)
