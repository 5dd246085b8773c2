"""ResNets for small images, with parameter-free shortcuts.

He et al., CVPR 2016, arXiv 1512.03385, section 4.2: three stages of n blocks, 6n + 2 layers.
"""

from collections import OrderedDict
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_forward_variance
from .registry import register
from .units import ConvBN, Merge, PadShortcut


class Block(nn.Module):
    """Two 3x3 convolutions beside the stream; the first block of a stage leads the stream into it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, first: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, out_channels, 3, stride)
        self.conv2 = ConvBN(out_channels, out_channels, 3)
        leads = first or stride != 1 or in_channels != out_channels
        self.shortcut = PadShortcut(in_channels, out_channels, stride) if leads else nn.Identity()
        self.merge = Merge()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(F.relu(self.conv1(x)))
        return F.relu(self.merge(self.shortcut(x), branch))


class ResNetCifar(nn.Module):
    """Stages of 16, 32 and 64 channels, the stem inside the first; average pool; linear."""

    def __init__(self, blocks_per_stage: int, num_classes: int) -> None:
        super().__init__()
        self.stage1 = _stage(16, 16, blocks_per_stage, stride=1, stem=True)
        self.stage2 = _stage(16, 32, blocks_per_stage, stride=2)
        self.stage3 = _stage(32, 64, blocks_per_stage, stride=2)
        self.linear = nn.Linear(64, num_classes)
        self.apply(keep_forward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.stage3(self.stage2(self.stage1(images_NCHW)))
        return self.linear(F.adaptive_avg_pool2d(out, 1).flatten(1))


def _stage(in_channels: int, channels: int, blocks: int, stride: int, stem: bool = False) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if stem:
        modules.update(conv1=ConvBN(3, in_channels, 3), relu=nn.ReLU())
    modules["block0"] = Block(in_channels, channels, stride, first=True)
    modules.update((f"block{i}", Block(channels, channels, 1)) for i in range(1, blocks))
    return nn.Sequential(modules)


def _blocks_of(blocks_per_stage: int) -> tuple[tuple[str, ...], ...]:
    """The stem, then the blocks of the three stages."""
    blocks = ((f"stage{stage}.block{i}",) for stage in (1, 2, 3) for i in range(blocks_per_stage))
    return (("stage1.conv1",), *blocks)


for _blocks in (3, 5, 7, 9, 18):
    _depth = 6 * _blocks + 2
    register(
        f"resnet{_depth}",
        num_classes=10,
        input_size=(3, 32, 32),
        aliases=(f"resnet_{_depth}", f"resnet_{_depth}_convwise"),
        blocks=_blocks_of(_blocks),
        source="He et al., CVPR 2016, arXiv 1512.03385, section 4.2, shortcut option A",
    )(partial(ResNetCifar, _blocks))
