"""ResNets for ImageNet, with the stride of a bottleneck on its 3x3 convolution.

He et al., CVPR 2016, arXiv 1512.03385, table 1; the stride sits where "ResNet v1.5" has it.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_backward_variance
from .registry import register
from .units import ConvBN, Merge


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1
    convs = ("conv1", "conv2")

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, width, 3, stride)
        self.conv2 = ConvBN(width, width, 3)
        self.merge = Merge()

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        branch = self.conv2(F.relu(self.conv1(x)))
        return F.relu(self.merge(shortcut, branch))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1."""

    expansion = 4
    convs = ("conv1", "conv2", "conv3")

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, width, 1)
        self.conv2 = ConvBN(width, width, 3, stride)
        self.conv3 = ConvBN(width, width * self.expansion, 1)
        self.merge = Merge()

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        branch = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(self.merge(shortcut, branch))


class Stage(nn.Module):
    """Blocks in a row; the first one's shortcut is a 1x1 projection wherever size or width change."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], in_channels: int, width: int, blocks: int, stride: int
    ) -> None:
        super().__init__()
        out_channels = width * block.expansion
        changes = stride != 1 or in_channels != out_channels
        self.projection = ConvBN(in_channels, out_channels, 1, stride) if changes else nn.Identity()
        self.block0 = block(in_channels, width, stride)
        for number in range(1, blocks):
            self.add_module(f"block{number}", block(out_channels, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        projection, first, *others = self.children()
        x = first(x, projection(x))
        for block in others:
            x = block(x, x)
        return x


class ResNetImageNet(nn.Module):
    """A 7x7 stem with a max pool, four stages, average pool, linear."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], blocks_per_stage: tuple[int, ...], num_classes: int
    ) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, 64, 7, stride=2)
        self.stage1 = Stage(block, 64, 64, blocks_per_stage[0], stride=1)
        self.stage2 = Stage(block, 64 * block.expansion, 128, blocks_per_stage[1], stride=2)
        self.stage3 = Stage(block, 128 * block.expansion, 256, blocks_per_stage[2], stride=2)
        self.stage4 = Stage(block, 256 * block.expansion, 512, blocks_per_stage[3], stride=2)
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self.apply(keep_backward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.max_pool2d(F.relu(self.conv1(images_NCHW)), 3, stride=2, padding=1)
        out = self.stage4(self.stage3(self.stage2(self.stage1(out))))
        return self.fc(F.adaptive_avg_pool2d(out, 1).flatten(1))


def _conv_order(block: type[BasicBlock | Bottleneck], blocks_per_stage: tuple[int, ...]) -> tuple[str, ...]:
    """The stem, then per stage the projection, if it has one, and the convolutions of each block."""
    names = ["conv1"]
    for stage, blocks in enumerate(blocks_per_stage, 1):
        if stage > 1 or block.expansion > 1:
            names.append(f"stage{stage}.projection")
        names += [f"stage{stage}.block{i}.{conv}" for i in range(blocks) for conv in block.convs]
    return tuple(f"{name}.conv" for name in names)


def _blocks_of(blocks_per_stage: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    """The stem, then the blocks of each stage; a projection, if it has one, belongs to the first."""
    blocks: list[tuple[str, ...]] = [("conv1",)]
    for stage, count in enumerate(blocks_per_stage, 1):
        blocks.append((f"stage{stage}.projection", f"stage{stage}.block0"))
        blocks += [(f"stage{stage}.block{i}",) for i in range(1, count)]
    return tuple(blocks)


for _depth, _block, _blocks in (
    (18, BasicBlock, (2, 2, 2, 2)),
    (34, BasicBlock, (3, 4, 6, 3)),
    (50, Bottleneck, (3, 4, 6, 3)),
    (101, Bottleneck, (3, 4, 23, 3)),
    (152, Bottleneck, (3, 8, 36, 3)),
):
    register(
        f"resnet{_depth}",
        num_classes=1000,
        input_size=(3, 224, 224),
        aliases=(f"resnet_{_depth}", f"resnet_{_depth}_convwise", f"sres{_depth}"),
        conv_order=_conv_order(_block, _blocks),
        blocks=_blocks_of(_blocks),
        source="He et al., CVPR 2016, arXiv 1512.03385, table 1, stride on the 3x3",
    )(partial(ResNetImageNet, _block, _blocks))
