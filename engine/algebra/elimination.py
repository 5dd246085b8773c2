"""Channels taken out of linear maps one after the other, each time the one whose loss is mended best.

Frantar and Alistarh, Optimal Brain Compression, arXiv 2208.11580, Eqs. 3-4, and ZipLM, arXiv 2302.04089,
section 3: with M the inverse of the inputs' second moments, removing the block g of inputs costs
w_g^T [M_gg]^-1 w_g once all other weights have made up for it; W and M then follow by an update of rank |g|.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .least_squares import RIDGE

TOGETHER = 256  # inputs that have left, whose updates of the inverse are made in one


class Reader:
    """One linear map that reads the channels, and what remains of it; several groups of inputs and outputs.

    Updates of the inverse wait until there are enough for a product of matrices that pays; then the inputs
    that have left are dropped, too.

    Attributes:
        channels: (C,), which channels it reads.
    """

    def __init__(
        self,
        inverse_GDD: Tensor,
        weight_GDO: Tensor,
        importance_GO: Tensor,
        inputs_CB: Tensor,
        channels_C: Tensor,
    ):
        """Begin with all inputs.

        Args:
            inverse_GDD: of the inputs' second moments plus ridge.
            weight_GDO: exact on all of them.
            importance_GO: what a squared error of each output costs.
            inputs_CB: per channel that is read, the B positions among D that are its own, in every group.
            channels_C: which channels these are.
        """
        self.channels = channels_C
        self._importance_GO, self._full_D = importance_GO, weight_GDO.shape[1]
        # A of the D inputs are left, or were when updates were last made.
        self._inverse_GAA, self._weight_GAO = inverse_GDD, weight_GDO
        self._positions_A = torch.arange(self._full_D, device=inverse_GDD.device)
        self._here_A = torch.ones_like(self._positions_A, dtype=torch.bool)
        # Of the C channels, n are left: rows among C, inputs among A, blocks of the inverse.
        self._rows_n = torch.arange(len(channels_C), device=inverse_GDD.device)
        self._inputs_nB = inputs_CB
        self._blocks_GnBB = inverse_GDD[:, inputs_CB[:, :, None], inputs_CB[:, None, :]]
        self._waiting_GAR = inverse_GDD[:, :, :0]  # what is still to be taken off the inverse is its square

    @property
    def weight(self) -> Tensor:
        """weight_GDO: least squares without what is eliminated, where it is zero."""
        groups, _, outputs = self._weight_GAO.shape
        whole_GDO = self._weight_GAO.new_zeros(groups, self._full_D, outputs)
        return whole_GDO.index_copy(1, self._positions_A, self._weight_GAO)

    def costs(self) -> Tensor:
        """costs_C: the weighted error that each channel's removal adds, everything else mending it.

        Zero for what is eliminated.
        """
        weight_GnBO = self._weight_GAO[:, self._inputs_nB]
        squares_GnBB = (weight_GnBO * self._importance_GO[:, None, None]) @ weight_GnBO.mT
        # The trace of W_g^T [M_gg]^-1 W_g F.
        costs_n = (torch.linalg.inv(self._blocks_GnBB) * squares_GnBB).sum((0, 2, 3))
        costs_C = torch.zeros(len(self.channels), dtype=costs_n.dtype, device=costs_n.device)
        return costs_C.index_copy(0, self._rows_n, costs_n)

    def eliminate(self, channel: int) -> None:
        """Take one channel out, if it is read at all; all other weights make up for it."""
        found = (self.channels[self._rows_n] == channel).nonzero().flatten().tolist()
        if not found:
            return
        own_B = self._inputs_nB[found[0]]
        columns_GAB = self._inverse_GAA[:, own_B].mT  # symmetric, and rows lie together in memory
        columns_GAB = columns_GAB - self._waiting_GAR @ self._waiting_GAR[:, own_B].mT
        lower_GBB = torch.linalg.cholesky(columns_GAB[:, own_B])
        factor_GAB = torch.linalg.solve_triangular(lower_GBB, columns_GAB.mT, upper=False).mT
        shares_GBO = torch.linalg.solve_triangular(lower_GBB, self._weight_GAO[:, own_B], upper=False)
        # What is zero in theory must not grow again by rounding.
        self._here_A[own_B] = False
        factor_GAB = factor_GAB * self._here_A[:, None]
        self._weight_GAO.baddbmm_(factor_GAB, shares_GBO, alpha=-1)
        self._weight_GAO[:, own_B] = 0
        left = [row for row in range(len(self._rows_n)) if row != found[0]]
        self._rows_n, self._inputs_nB = self._rows_n[left], self._inputs_nB[left]
        mine_GnBB = factor_GAB[:, self._inputs_nB]
        self._blocks_GnBB = self._blocks_GnBB[:, left] - mine_GnBB @ mine_GnBB.mT
        self._waiting_GAR = torch.cat([self._waiting_GAR, factor_GAB], 2)
        if self._waiting_GAR.shape[2] >= TOGETHER:
            self._update()

    def _update(self) -> None:
        """Bring the inverse up to date, and forget what has left."""
        here = self._here_A.nonzero().flatten()
        left_GAR = self._waiting_GAR[:, here]
        self._inverse_GAA = self._inverse_GAA[:, here][:, :, here].baddbmm_(left_GAR, left_GAR.mT, alpha=-1)
        self._waiting_GAR = left_GAR[:, :, :0]
        self._weight_GAO, self._positions_A = self._weight_GAO[:, here], self._positions_A[here]
        renumbered_A = self._here_A.cumsum(0) - 1
        self._inputs_nB, self._here_A = renumbered_A[self._inputs_nB], self._here_A[here]


@dataclass(eq=False)
class LooseReader:
    """A linear map with too many inputs to solve for: what leaves is not made up for there.

    Attributes:
        losses: (C,), the weighted error that each channel's removal adds by itself.
        channels: see `Reader`.
        weight: there is no other than before.
    """

    losses: Tensor
    channels: Tensor
    weight: None = None

    def costs(self) -> Tensor:
        """costs_C: see `losses`; zero for what is eliminated."""
        return self.losses

    def eliminate(self, channel: int) -> None:
        """Take one channel out, if it is read at all."""
        self.losses[self.channels == channel] = 0


def loose_reader(
    blocks_GCBB: Tensor, weight_GDO: Tensor, importance_GO: Tensor, inputs_CB: Tensor, channels_C: Tensor
) -> LooseReader:
    """A reader of which only the moments of each channel's own inputs are known.

    Args:
        blocks_GCBB: their second moments, float64.
        weight_GDO, importance_GO, inputs_CB, channels_C: see `Reader`.
    """
    weight_GCBO = weight_GDO[:, inputs_CB]
    losses_C = ((blocks_GCBB @ weight_GCBO * weight_GCBO).sum(2) * importance_GO[:, None]).sum((0, 2))
    return LooseReader(losses_C, channels_C)


@dataclass(frozen=True, eq=False)
class Course:
    """How channels left, one after the other.

    Attributes:
        order: the channels, first to leave first.
        errors: the weighted error after each of them has left, never falling.
        weights: number of channels gone -> weight_GDO of every reader, for the numbers asked for; None of
            those that do not make up for anything.
    """

    order: tuple[int, ...]
    errors: tuple[float, ...]
    weights: dict[int, tuple[Tensor | None, ...]]


def reader(
    gram_GDD: Tensor,
    weight_GDO: Tensor,
    importance_GO: Tensor,
    inputs_CB: Tensor,
    channels_C: Tensor,
    share: float = RIDGE,
) -> Reader:
    """A reader before anything is eliminated; on all its inputs `weight_GDO` is exact.

    Args:
        gram_GDD: second moments of the inputs, float64.
        weight_GDO: float64.
        importance_GO, inputs_CB, channels_C: see `Reader`.
        share: the ridge, as a share of the mean second moment.
    """
    ridge_G = share * gram_GDD.diagonal(dim1=1, dim2=2).mean(1)
    ridge_G = torch.where(ridge_G > 0, ridge_G, 1.0)
    regular_GDD = gram_GDD + torch.diag_embed(ridge_G[:, None].expand(-1, gram_GDD.shape[1]))
    inverse_GDD = torch.cholesky_inverse(torch.linalg.cholesky(regular_GDD))
    return Reader(inverse_GDD, weight_GDO.clone(), importance_GO, inputs_CB, channels_C)


def eliminate(
    readers: Sequence[Reader | LooseReader], free: Sequence[bool], keep: Iterable[int] = ()
) -> Course:
    """Take out all free channels but the last, cheapest first; of equal ones the first.

    Args:
        readers: every map that reads the channels; they end without them.
        free: per channel, whether it may leave.
        keep: after how many channels the weights are wanted.
    """
    wanted = set(keep)
    alive_C = torch.tensor(free)
    order: list[int] = []
    errors: list[float] = []
    weights: dict[int, tuple[Tensor | None, ...]] = {}
    for gone in range(1, min(int(alive_C.sum()), len(free) - 1) + 1):
        costs_C = torch.zeros(len(free), dtype=torch.float64)
        for one in readers:
            costs_C[one.channels] += one.costs().cpu()
        chosen = int(torch.where(alive_C, costs_C, torch.inf).argmin())
        alive_C[chosen] = False
        order.append(chosen)
        errors.append((errors[-1] if errors else 0.0) + max(0.0, float(costs_C[chosen])))
        for one in readers:
            one.eliminate(chosen)
        if gone in wanted:
            weights[gone] = tuple(one.weight for one in readers)
    return Course(tuple(order), tuple(errors), weights)
