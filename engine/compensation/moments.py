"""Second moments gathered batch by batch, in float64, and added up over processes."""

import zlib

import torch
from torch import Tensor

from ..algebra.least_squares import Moments
from ..modules.inputs import Call, content_of
from ..processes.distributed import add_up


def halves(given: Tensor | Call) -> Tensor:
    """half_N: which images go into the second of two halves; an image's own content says so.

    The halves are thus the same in whatever batches, order and process the images come.
    """
    pixels = content_of(given).detach().float().cpu().numpy()
    return torch.tensor([zlib.crc32(image.tobytes()) % 2 == 1 for image in pixels])


def rows_of(half_N: Tensor, made: Tensor) -> Tensor:
    """Which entries along the first axis of `made` come of these images: windows of one lie side by side.

    Where that axis is not one of images, as where code turns a sequence first, none is said to.
    """
    each, rest = divmod(len(made), len(half_N))
    return half_N.repeat_interleave(each) if not rest else torch.zeros(len(made), dtype=torch.bool)


def gram_bytes(groups: int, width: int) -> int:
    """What second moments take up, of so many groups whose outputs read `width` numbers each."""
    return 8 * groups * width * width


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
        rows_GPD = rows_GPD.double()
        self._gram_GDD.baddbmm_(rows_GPD.mT, rows_GPD)
        self._inputs_GD += rows_GPD.sum(1)
        self._count += rows_GPD.shape[1]
        self.add_targets(rows_GPD, targets_GPO)

    def add_targets(self, rows_GPD: Tensor, targets_GPO: Tensor) -> None:
        """Take in targets of positions whose inputs are known."""
        targets_GPO = targets_GPO.double()
        self._cross_GDO.baddbmm_(rows_GPD.double().mT, targets_GPO)
        self._power_GO += targets_GPO.square().sum(1)
        self._outputs_GO += targets_GPO.sum(1)

    def add_up(self) -> None:
        """Sum over all processes, in place, once."""
        for sums in (self._gram_GDD, self._inputs_GD):
            add_up(sums)
        self._count = int(add_up(torch.tensor(self._count)))
        self.add_up_targets()

    def add_up_targets(self) -> None:
        """Sum over all processes what targets have a part in, in place, once."""
        for sums in (self._cross_GDO, self._power_GO, self._outputs_GO):
            add_up(sums)

    def without_targets(self) -> "Gathering":
        """The same inputs, whose second moments both share, and no targets yet."""
        made = Gathering(len(self._gram_GDD), 0, 0, self._gram_GDD.device)
        made._gram_GDD, made._inputs_GD, made._count = self._gram_GDD, self._inputs_GD, self._count
        made._cross_GDO, made._power_GO, made._outputs_GO = (
            torch.zeros_like(sums) for sums in (self._cross_GDO, self._power_GO, self._outputs_GO)
        )
        return made

    def joined(self, other: "Gathering") -> "Gathering":
        """What both have seen."""
        groups, width, outs = self._cross_GDO.shape
        made = Gathering(groups, width, outs, self._cross_GDO.device)
        for sums, mine, others in zip(made._sums, self._sums, other._sums, strict=True):
            torch.add(mine, others, out=sums)
        made._count = self._count + other._count
        return made

    def moments(self, intercept: bool) -> Moments:
        """Means over all positions, centred where the fit has an intercept."""
        gram_GDD, cross_GDO, power_GO, mean_GD, mean_GO = (sums / self._count for sums in self._sums)
        if intercept:
            gram_GDD -= mean_GD[:, :, None] * mean_GD[:, None]
            cross_GDO -= mean_GD[:, :, None] * mean_GO[:, None]
            power_GO -= mean_GO.square()
        return Moments(gram_GDD, cross_GDO, power_GO, mean_GD, mean_GO, self._count, intercept)

    @property
    def count(self) -> int:
        """Positions seen."""
        return self._count

    @property
    def _sums(self) -> tuple[Tensor, ...]:
        return self._gram_GDD, self._cross_GDO, self._power_GO, self._inputs_GD, self._outputs_GO


Halves = tuple[Gathering, Gathering]  # of the images, to choose by one what goes for the other
