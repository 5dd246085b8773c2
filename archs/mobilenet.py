"""MobileNetV1.

Howard et al., 2017, arXiv 1704.04861, table 1; in ResRep's names.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_backward_variance
from .registry import register
from .units import ConvBN

_WIDTHS_AND_STRIDES = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class SeparableBlock(nn.Module):
    """A 3x3 convolution within each channel, then a 1x1 convolution across them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvBN(in_channels, in_channels, 3, stride, groups=in_channels)
        self.pointwise = ConvBN(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


class MobileNetV1(nn.Module):
    """A strided 3x3 convolution, 13 separable blocks, average pool, linear."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, 32, 3, stride=2)
        in_widths = (32, *(width for width, _ in _WIDTHS_AND_STRIDES))
        self.stem = nn.Sequential(
            *(
                SeparableBlock(in_channels, width, stride)
                for in_channels, (width, stride) in zip(in_widths, _WIDTHS_AND_STRIDES, strict=False)
            )
        )
        self.linear = nn.Linear(1024, num_classes)
        self.apply(keep_backward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.stem(F.relu(self.conv1(images_NCHW)))
        return self.linear(F.adaptive_avg_pool2d(out, 1).flatten(1))


_IN_BLOCKS = (
    f"stem.{block}.{conv}.conv"
    for block in range(len(_WIDTHS_AND_STRIDES))
    for conv in ("depthwise", "pointwise")
)


@register(
    "mobilenet_v1",
    num_classes=1000,
    input_size=(3, 224, 224),
    aliases=("mi1", "smi1"),
    conv_order=("conv1.conv", *_IN_BLOCKS),
    source="Howard et al., 2017, arXiv 1704.04861, table 1",
)
def mobilenet_v1(num_classes: int) -> nn.Module:
    """Build the network."""
    return MobileNetV1(num_classes)
