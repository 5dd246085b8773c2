"""Initial weights: He et al., ICCV 2015, arXiv 1502.01852; apply with `model.apply(...)`."""

from torch import nn


def keep_forward_variance(module: nn.Module) -> None:
    """Fill a convolution's or linear layer's weight by Eq. 10; other modules stay as they are."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def keep_backward_variance(module: nn.Module) -> None:
    """Fill a convolution's weight by Eq. 14; other modules stay as they are."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
