"""MobileNetV2.

Sandler et al., CVPR 2018, arXiv 1801.04381, table 2; the form that HRankPlus prunes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_backward_variance
from .registry import register
from .units import ConvBN, Merge

# Per stage: the factor of expansion, the width, the number of blocks and the stride of the first one.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """A 1x1 convolution to more channels, a 3x3 one within each, and a 1x1 one to few, without activation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, factor: int) -> None:
        super().__init__()
        width = in_channels * factor
        self.expansion = ConvBN(in_channels, width, 1) if factor > 1 else None
        self.depthwise = ConvBN(width, width, 3, stride, groups=width)
        self.pointwise = ConvBN(width, out_channels, 1)
        self.merge = Merge() if stride == 1 and in_channels == out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        out = x if self.expansion is None else F.relu6(self.expansion(x))
        out = self.pointwise(F.relu6(self.depthwise(out)))
        return out if self.merge is None else self.merge(x, out)


class MobileNetV2(nn.Module):
    """A strided 3x3 convolution, 17 inverted residuals, a 1x1 convolution, average pool, linear."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        in_channels = 32
        for factor, width, count, stride in _STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(in_channels, width, 1 if number else stride, factor))
                in_channels = width
        self.stem = nn.Sequential(*blocks)
        self.conv2 = ConvBN(in_channels, 1280, 1)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(1280, num_classes)
        self.apply(keep_backward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.relu6(self.conv2(self.stem(F.relu6(self.conv1(images_NCHW)))))
        return self.linear(self.dropout(out.mean((2, 3))))


@register(
    "mobilenet_v2",
    num_classes=1000,
    input_size=(3, 224, 224),
    source="Sandler et al., CVPR 2018, arXiv 1801.04381, table 2",
)
def mobilenet_v2(num_classes: int) -> nn.Module:
    """Build the network."""
    return MobileNetV2(num_classes)
