"""VGG-16 for small images, with the heads that HRank, FPGM and ResRep give it.

Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configuration D; Lin et al., CVPR 2020, arXiv 2002.10179;
He et al., CVPR 2019, arXiv 1811.00250; Ding et al., ICCV 2021, arXiv 2007.03260.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_forward_variance
from .registry import register
from .units import ConvBN

_WIDTHS = (
    (64, 64),
    (128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (512, 512, 512),
)  # a pool between any two


class VGGCifar(nn.Module):
    """13 convolutions and BN, an average pool, a hidden linear layer and BN, a linear layer."""

    def __init__(self, num_classes: int, bias: bool) -> None:
        super().__init__()
        self.stem = _convolutions(bias)
        self.linear1 = nn.Linear(512, 512)
        self.bn1 = nn.BatchNorm1d(512)
        self.linear2 = nn.Linear(512, num_classes)
        self.apply(keep_forward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.adaptive_avg_pool2d(self.stem(images_NCHW), 1).flatten(1)
        return self.linear2(F.relu(self.bn1(self.linear1(out))))


class VGGFlattened(nn.Module):
    """13 convolutions and BN, a last pool, the map flattened, a hidden linear layer, a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = _convolutions(bias=False)
        self.linear1 = nn.Linear(512, 512)
        self.linear2 = nn.Linear(512, num_classes)
        self.apply(keep_forward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.max_pool2d(self.stem(images_NCHW), 2).flatten(1)
        return self.linear2(F.relu(self.linear1(out)))


def _convolutions(bias: bool) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels, number = 3, 0
    for stage, widths in enumerate(_WIDTHS):
        if stage > 0:
            modules[f"pool{stage}"] = nn.MaxPool2d(2)
        for width in widths:
            number += 1
            modules[f"conv{number}"] = ConvBN(in_channels, width, 3, bias=bias)
            modules[f"relu{number}"] = nn.ReLU()
            in_channels = width
    return nn.Sequential(modules)


@register(
    "vgg16_bn",
    num_classes=10,
    input_size=(3, 32, 32),
    aliases=("vgg_16_bn",),
    source="Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configuration D with BN, and HRank's head",
)
def vgg16_bn(num_classes: int) -> nn.Module:
    """Build the network, whose convolutions have biases."""
    return VGGCifar(num_classes, bias=True)


@register(
    "vgg16",
    num_classes=10,
    input_size=(3, 32, 32),
    aliases=("vgg",),
    source="Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configuration D with BN, and FPGM's head",
)
def vgg16(num_classes: int) -> nn.Module:
    """Build the network, whose convolutions have no biases."""
    return VGGCifar(num_classes, bias=False)


@register(
    "vc",
    num_classes=10,
    input_size=(3, 32, 32),
    conv_order=tuple(f"stem.conv{number}.conv" for number in range(1, 14)),
    source="Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configuration D with BN, and ResRep's head",
)
def vc(num_classes: int) -> nn.Module:
    """Build the network."""
    return VGGFlattened(num_classes)
