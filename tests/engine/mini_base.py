"""What the adversarial mini-networks have in common."""

import torch
from torch import nn


def cbr(ins: int, outs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Conv, BN, ReLU."""
    conv = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outs), nn.ReLU())


def conv(ins: int, outs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution with a bias that keeps the size of the image."""
    return nn.Conv2d(ins, outs, kernel, padding=kernel // 2)


class Mini(nn.Module):
    """A stem, something difficult, a pooled classifier.

    A network says what must come of it: `PRUNES` names layers that must get narrower, `PINNED` layers that
    must not.
    """

    PRUNES: tuple[str, ...] = ()
    PINNED: tuple[str, ...] = ()

    def __init__(self, width: int = 16, features: int = 16) -> None:
        super().__init__()
        self.stem = cbr(3, width)
        self.fc = nn.Linear(features, 5)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))
