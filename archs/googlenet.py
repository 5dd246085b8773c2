"""GoogLeNet for small images: one 3x3 convolution as a stem, and two 3x3 for every 5x5.

Szegedy et al., CVPR 2015, arXiv 1409.4842, table 1; the form that HRank and FilterSketch prune (Lin et al.,
arXiv 2002.10179 and 2001.08514), with a BN after every convolution.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_forward_variance
from .registry import register
from .units import ConvBN

# Per module: the widths of 1x1, 3x3 reduction, 3x3, 5x5 reduction, 5x5, and of the projection after the pool.
_WIDTHS = {
    "a3": (64, 96, 128, 16, 32, 32),
    "b3": (128, 128, 192, 32, 96, 64),
    "a4": (192, 96, 208, 16, 48, 64),
    "b4": (160, 112, 224, 24, 64, 64),
    "c4": (128, 128, 256, 24, 64, 64),
    "d4": (112, 144, 288, 32, 64, 64),
    "e4": (256, 160, 320, 32, 128, 128),
    "a5": (256, 160, 320, 32, 128, 128),
    "b5": (384, 192, 384, 48, 128, 128),
}
_BEFORE_A_POOL = ("b3", "e4")


class Inception(nn.Module):
    """Four branches over one input, side by side in the output; convolutions have biases."""

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        n1x1, reduce3x3, n3x3, reduce5x5, n5x5, pool = widths
        self.branch1x1 = _convolutions(in_channels, (n1x1, 1))
        self.branch3x3 = _convolutions(in_channels, (reduce3x3, 1), (n3x3, 3))
        self.branch5x5 = _convolutions(in_channels, (reduce5x5, 1), (n5x5, 3), (n5x5, 3))
        self.branch_pool = _convolutions(in_channels, (pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        branches = self.branch1x1(x), self.branch3x3(x), self.branch5x5(x), self.branch_pool(pooled)
        return torch.cat(branches, 1)


class GoogLeNetCifar(nn.Module):
    """A stem, nine inception modules in three sizes, average pool, linear."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvBN(3, 192, 3, bias=True)
        in_channels = 192
        for name, widths in _WIDTHS.items():
            self.add_module(f"inception_{name}", Inception(in_channels, widths))
            n1x1, _, n3x3, _, n5x5, pool = widths
            in_channels = n1x1 + n3x3 + n5x5 + pool
        self.linear = nn.Linear(in_channels, num_classes)
        self.apply(keep_forward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.relu(self.stem(images_NCHW))
        for name in _WIDTHS:
            out = self.get_submodule(f"inception_{name}")(out)
            if name in _BEFORE_A_POOL:
                out = F.max_pool2d(out, 3, stride=2, padding=1)
        return self.linear(F.adaptive_avg_pool2d(out, 1).flatten(1))


def _convolutions(in_channels: int, *widths_and_kernels: tuple[int, int]) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (width, kernel) in enumerate(widths_and_kernels, 1):
        modules[f"conv{number}"] = ConvBN(in_channels, width, kernel, bias=True)
        modules[f"relu{number}"] = nn.ReLU()
        in_channels = width
    return nn.Sequential(modules)


@register(
    "googlenet",
    num_classes=10,
    input_size=(3, 32, 32),
    blocks=(("stem",), *((f"inception_{name}",) for name in _WIDTHS)),
    source="Szegedy et al., CVPR 2015, arXiv 1409.4842, table 1, with BN and the stem for small images",
)
def googlenet(num_classes: int) -> nn.Module:
    """Build the network."""
    return GoogLeNetCifar(num_classes)
