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


@dataclass(eq=False)
class Reader:
    """One linear map that reads the channels, and what remains of it; several groups of inputs and outputs.

    Attributes:
        inverse: (G, D, D), of the inputs' second moments plus ridge; zero where inputs are eliminated.
        weight: (G, D, O), least-squares weights without what is eliminated.
        importance: (G, O), what a squared error of each output costs.
        inputs: (C, B), per channel that is read, the B positions among D that are its own, in every group.
        channels: (C,), which channels these are.
    """

    inverse: Tensor
    weight: Tensor
    importance: Tensor
    inputs: Tensor
    channels: Tensor

    def costs(self) -> Tensor:
        """costs_C: the weighted error that each channel's removal adds, everything else mending it."""
        blocks_GCBB = self.inverse[:, self.inputs[:, :, None], self.inputs[:, None, :]]
        weight_GCBO = self.weight[:, self.inputs]
        solved_GCBO = torch.linalg.solve(_regular(blocks_GCBB), weight_GCBO)
        return ((weight_GCBO * solved_GCBO).sum(2) * self.importance[:, None]).sum((0, 2))

    def eliminate(self, channel: int) -> None:
        """Take one channel out, if it is read at all; all other weights make up for it."""
        row = (self.channels == channel).nonzero().flatten().tolist()
        if not row:
            return
        own_B = self.inputs[row[0]]
        columns_GDB = self.inverse[:, :, own_B].clone()
        block_GBB = _regular(columns_GDB[:, own_B])
        self.weight -= columns_GDB @ torch.linalg.solve(block_GBB, self.weight[:, own_B])
        self.inverse -= columns_GDB @ torch.linalg.solve(block_GBB, columns_GDB.mT)
        # What is zero in theory must not grow again by rounding.
        self.weight[:, own_B] = 0
        self.inverse[:, own_B] = 0
        self.inverse[:, :, own_B] = 0


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
            weights[gone] = tuple(None if one.weight is None else one.weight.clone() for one in readers)
    return Course(tuple(order), tuple(errors), weights)


def _regular(blocks_xBB: Tensor) -> Tensor:
    """Blocks of eliminated channels are zero; the identity instead solves to zero for their zero weights."""
    empty_x1 = blocks_xBB.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) <= 0
    return blocks_xBB + torch.diag_embed(empty_x1.expand(blocks_xBB.shape[:-1]).to(blocks_xBB.dtype))
