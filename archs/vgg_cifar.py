"""VGG-16 for small images, with the head that HRank gives it.

Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configuration D; Lin et al., CVPR 2020, arXiv 2002.10179.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from .registry import register
from .units import ConvBN

_WIDTHS = (
    (64, 64),
    (128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (512, 512, 512),
)  # a pool after each but the last


class VGGCifar(nn.Module):
    """13 convolutions (with biases) and BN, a hidden linear layer and BN, a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = _convolutions()
        self.linear1 = nn.Linear(512, 512)
        self.bn1 = nn.BatchNorm1d(512)
        self.linear2 = nn.Linear(512, num_classes)
        self.apply(_initialise)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.adaptive_avg_pool2d(self.stem(images_NCHW), 1).flatten(1)
        return self.linear2(F.relu(self.bn1(self.linear1(out))))


def _convolutions() -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels, number = 3, 0
    for stage, widths in enumerate(_WIDTHS):
        if stage > 0:
            modules[f"pool{stage}"] = nn.MaxPool2d(2)
        for width in widths:
            number += 1
            modules[f"conv{number}"] = ConvBN(in_channels, width, 3, bias=True)
            modules[f"relu{number}"] = nn.ReLU()
            in_channels = width
    return nn.Sequential(modules)


def _initialise(module: nn.Module) -> None:
    """He et al., ICCV 2015, arXiv 1502.01852, Eq. 10."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


@register(
    "vgg16_bn",
    num_classes=10,
    input_size=(3, 32, 32),
    aliases=("vgg_16_bn",),
    source="Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configuration D with BN, and HRank's head",
)
def vgg16_bn(num_classes: int) -> nn.Module:
    """Build the network."""
    return VGGCifar(num_classes)
