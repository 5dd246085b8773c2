"""The matrix rank of many small matrices at once: exact, and faster than a batched SVD.

The singular values of a matrix A above a tolerance are the eigenvalues of its float64 Gram matrix above the
squared tolerance. Most feature maps need no eigenvalues: their non-zero rows, or else columns, are plainly
independent, and one Cholesky factorisation certifies that. Squaring loses nothing that matters: products of
float32 numbers are exact in float64, and the squared tolerance lies a thousand times above float64 rounding.
"""

import torch
from torch import Tensor

# Singular values this close to the tolerance, as a factor, are left to the singular value decomposition
# itself.
GUARD = 4.0

# A megabyte of float64 stays in the cache of one core; larger chunks were measured to be 1.5 to 3 times
# slower.
_CHUNK_NUMBERS = {"cpu": 1 << 17}
_CHUNK_NUMBERS_ELSEWHERE = 1 << 25


def feature_map_ranks(maps_NCHW: Tensor) -> Tensor:
    """Count the singular values of each feature map above `sigma_max * max(H, W) * eps(float32)`.

    Equals `torch.linalg.matrix_rank` of the float32 maps: where a singular value lies within a factor of
    `GUARD` of the tolerance, that function itself decides. Works in chunks, so memory stays bounded.

    Args:
        maps_NCHW: finite feature maps, any float dtype, any memory format.

    Returns:
        ranks_NC, int64, on the maps' device.
    """
    images, channels, height, width = maps_NCHW.shape
    maps_BHW = maps_NCHW.detach().float().reshape(images * channels, height, width)
    if min(height, width) == 1:
        return (maps_BHW != 0).flatten(1).any(1).long().reshape(images, channels)
    numbers = _CHUNK_NUMBERS.get(maps_BHW.device.type, _CHUNK_NUMBERS_ELSEWHERE)
    chunks = maps_BHW.split(max(1, numbers // (height * width)))
    return torch.cat([_ranks(chunk_BHW) for chunk_BHW in chunks]).reshape(images, channels)


def _ranks(maps_BHW: Tensor) -> Tensor:
    """Try ever more expensive ways, each on the maps the cheaper ones left open."""
    relative_tolerance = max(maps_BHW.shape[1:]) * torch.finfo(torch.float32).eps
    rows_BRS = maps_BHW.double()
    if rows_BRS.shape[1] > rows_BRS.shape[2]:
        rows_BRS = rows_BRS.mT
    gram_BRR = rows_BRS @ rows_BRS.mT
    ranks_B, certain_B = _live_rows_if_independent(gram_BRR, relative_tolerance)
    open_U = (~certain_B).nonzero().squeeze(1)

    if len(open_U) and rows_BRS.shape[1] == rows_BRS.shape[2]:
        # ReLU leaves whole rows and columns at zero; with fewer live columns than rows, no set of rows is
        # independent.
        columns_URS = rows_BRS[open_U].mT
        column_ranks_U, certain_U = _live_rows_if_independent(
            columns_URS @ columns_URS.mT, relative_tolerance
        )
        ranks_B[open_U] = column_ranks_U
        open_U = open_U[~certain_U]

    if len(open_U):
        eigenvalue_ranks_U, near_U = _eigenvalue_ranks(gram_BRR[open_U], relative_tolerance)
        ranks_B[open_U] = eigenvalue_ranks_U
        open_U = open_U[near_U]

    if len(open_U):
        # On the CPU: the decompositions of other devices round differently.
        ranks_B[open_U] = torch.linalg.matrix_rank(maps_BHW[open_U].cpu()).to(ranks_B.device)
    return ranks_B


def _live_rows_if_independent(gram_BRR: Tensor, relative_tolerance: float) -> tuple[Tensor, Tensor]:
    """The number of non-zero rows, and whether all their singular values are certainly above the tolerance.

    They are when G minus the guarded squared tolerance, on the non-zero rows, is positive definite. The
    Frobenius norm bounds the largest eigenvalue from above, so the certificate never errs towards
    "independent".
    """
    diagonal_BR = gram_BRR.diagonal(dim1=1, dim2=2)
    alive_BR = diagonal_BR > 0
    shift_B = torch.linalg.matrix_norm(gram_BRR) * (GUARD * relative_tolerance) ** 2
    shifted_BRR = gram_BRR.clone()
    # A dead row becomes a row of the identity: it neither adds nor removes definiteness.
    shifted_BRR.diagonal(dim1=1, dim2=2).copy_(torch.where(alive_BR, diagonal_BR - shift_B[:, None], 1.0))
    return alive_BR.sum(1), torch.linalg.cholesky_ex(shifted_BRR).info == 0


def _eigenvalue_ranks(gram_BRR: Tensor, relative_tolerance: float) -> tuple[Tensor, Tensor]:
    """Ranks from eigenvalues, and where one of them is too near the tolerance to decide."""
    eigenvalues_BR = torch.linalg.eigvalsh(gram_BRR)
    threshold_B1 = eigenvalues_BR[:, -1:] * relative_tolerance**2
    above_BR = eigenvalues_BR > threshold_B1
    near_BR = (eigenvalues_BR > threshold_B1 / GUARD**2) & (eigenvalues_BR < threshold_B1 * GUARD**2)
    return above_BR.sum(1), near_BR.any(1)
