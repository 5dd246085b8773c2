"""DenseNet for small images, without bottlenecks and without compression.

Huang et al., CVPR 2017, arXiv 1608.06993, section 4.2: 40 layers that grow by 12 channels each.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_backward_variance
from .registry import register

_GROWTH = 12  # channels per layer
_LAYERS = 12  # per dense block


class BNConv(nn.Module):
    """BN, ReLU and a convolution, in this order."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.bn(x)))


class DenseLayer(BNConv):
    """A 3x3 convolution whose output stands behind its input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, super().forward(x)), 1)


class DenseNetCifar(nn.Module):
    """A 3x3 convolution, three dense blocks with 1x1 convolutions and pools between, average pool, linear."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        first, second, third, last = (2 * _GROWTH + stage * _LAYERS * _GROWTH for stage in range(4))
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.dense1 = _dense_block(first)
        self.transition1 = BNConv(second, second, 1)
        self.dense2 = _dense_block(second)
        self.transition2 = BNConv(third, third, 1)
        self.dense3 = _dense_block(third)
        self.bn = nn.BatchNorm2d(last)
        self.linear = nn.Linear(last, num_classes)
        self.apply(keep_backward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.dense1(self.conv1(images_NCHW))
        out = self.dense2(F.avg_pool2d(self.transition1(out), 2))
        out = self.dense3(F.avg_pool2d(self.transition2(out), 2))
        return self.linear(F.adaptive_avg_pool2d(F.relu(self.bn(out)), 1).flatten(1))


def _dense_block(in_channels: int) -> nn.Sequential:
    layers = ((f"layer{i}", DenseLayer(in_channels + i * _GROWTH, _GROWTH, 3)) for i in range(_LAYERS))
    return nn.Sequential(OrderedDict(layers))


@register(
    "densenet40",
    num_classes=10,
    input_size=(3, 32, 32),
    aliases=("densenet_40", "densenet_40_convwise"),
    source="Huang et al., CVPR 2017, arXiv 1608.06993, section 4.2, 40 layers, growth 12",
)
def densenet40(num_classes: int) -> nn.Module:
    """Build the network."""
    return DenseNetCifar(num_classes)
