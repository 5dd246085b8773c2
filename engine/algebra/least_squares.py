"""Least squares from second moments alone, held near a starting point: the images need not be kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 0.01  # of the mean second moment of the inputs


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over positions of inputs a, targets t and their products, float64; G independent groups.

    Attributes:
        gram: (G, D, D), E a a^T; centred where the fit has an intercept, as `cross` and `power` are then.
        cross: (G, D, O), E a t^T.
        power: (G, O), E t^2.
        mean_a: (G, D), E a.
        mean_t: (G, O), E t.
        count: positions that the means are over.
        intercept: whether the fit has one.
    """

    gram: Tensor
    cross: Tensor
    power: Tensor
    mean_a: Tensor
    mean_t: Tensor
    count: int
    intercept: bool

    def ridge(self, share: float = RIDGE) -> Tensor:
        """ridge_G: `share` of the mean second moment of each group's inputs."""
        return share * self.gram.diagonal(dim1=1, dim2=2).mean(1)

    def best_intercept(self, weight_GDO: Tensor) -> Tensor:
        """intercept_GO that goes with a weight: the means meet."""
        return self.mean_t - _applied(self.mean_a, weight_GDO)

    def variance(self, weight_GDO: Tensor) -> Tensor:
        """variance_GO of what a weight makes; without intercept, its mean square."""
        return (weight_GDO * (self.gram @ weight_GDO)).sum(1)

    def errors(self, weight_GDO: Tensor, intercept_GO: Tensor | None = None) -> Tensor:
        """errors_GO: E (t - W^T a - b)^2. Without an intercept given, the best one is meant."""
        errors_GO = self.power - 2 * (weight_GDO * self.cross).sum(1) + self.variance(weight_GDO)
        if self.intercept and intercept_GO is not None:
            errors_GO = errors_GO + (self.best_intercept(weight_GDO) - intercept_GO).square()
        return errors_GO.clamp_min(0)


def ridge_towards(moments: Moments, start_GDO: Tensor, ridge_G: Tensor) -> Tensor:
    """Minimise E |t - W^T a|^2 + ridge |W - start|^2, group by group.

    With W = start + X this is (H + ridge I) X = B - H start, so that targets which the starting weights meet
    already leave them as they are to the last bit of the right-hand side. The fit is never worse than that of
    the start: the penalty there is zero.

    Args:
        moments: of inputs and targets.
        start_GDO: weights to stay near to.
        ridge_G: in units of the inputs' second moment; where it is zero the inputs are zero, and the start
            is returned.

    Returns:
        weight_GDO, float64.
    """
    residual_GDO = moments.cross - moments.gram @ start_GDO
    # A group without any input has no solution of its own; a ridge of one leaves it where it was.
    ridge_G = torch.where(ridge_G > 0, ridge_G, 1.0)
    regular_GDD = moments.gram + torch.diag_embed(ridge_G[:, None].expand(-1, residual_GDO.shape[1]))
    return start_GDO + torch.cholesky_solve(residual_GDO, torch.linalg.cholesky(regular_GDD))


def cross_validated(first: Moments, second: Moments, start_GDO: Tensor, shares: Sequence[float]) -> float:
    """The ridge with which the fit to either half does best on the other.

    Args:
        first, second: moments of two halves of the images.
        start_GDO: see `ridge_towards`.
        shares: ridges to try, as shares of the mean second moment; the first of equals is taken. An infinite
            one stands for the start itself.

    Returns:
        one of `shares`.
    """
    errors = []
    for share in shares:
        error = 0.0
        for fitted, other in ((first, second), (second, first)):
            weight_GDO = start_GDO
            if share != math.inf:
                weight_GDO = ridge_towards(fitted, start_GDO, fitted.ridge(share))
            intercept_GO = fitted.best_intercept(weight_GDO) if fitted.intercept else None
            error += float(other.errors(weight_GDO, intercept_GO).sum())
        errors.append(error)
    return shares[errors.index(min(errors))]


def _applied(input_GD: Tensor, weight_GDO: Tensor) -> Tensor:
    return (input_GD[:, None] @ weight_GDO)[:, 0]
