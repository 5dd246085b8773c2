"""ResNets for small images, with a 1x1 projection wherever the width changes, as ResRep prunes them.

He et al., CVPR 2016, arXiv 1512.03385, section 4.2, shortcut option B; Ding et al., ICCV 2021,
arXiv 2007.03260.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_forward_variance
from .registry import register
from .resnet_imagenet import BasicBlock, Stage
from .units import ConvBN


class FirstStage(nn.Module):
    """The stem, then blocks of its width."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, channels, 3)
        for number in range(blocks):
            self.add_module(f"block{number}", BasicBlock(channels, channels, 1))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        stem, *blocks = self.children()
        x = F.relu(stem(images_NCHW))
        for block in blocks:
            x = block(x, x)
        return x


class ResNetProjection(nn.Module):
    """Stages of 16, 32 and 64 channels, the stem inside the first; average pool; linear."""

    def __init__(self, blocks_per_stage: int, num_classes: int) -> None:
        super().__init__()
        self.stage1 = FirstStage(16, blocks_per_stage)
        self.stage2 = Stage(BasicBlock, 16, 32, blocks_per_stage, stride=2)
        self.stage3 = Stage(BasicBlock, 32, 64, blocks_per_stage, stride=2)
        self.linear = nn.Linear(64, num_classes)
        self.apply(keep_forward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.stage3(self.stage2(self.stage1(images_NCHW)))
        return self.linear(F.adaptive_avg_pool2d(out, 1).flatten(1))


def _conv_order(blocks_per_stage: int) -> tuple[str, ...]:
    """Per stage the stem or the projection, then the two convolutions of each block."""
    firsts = ("stage1.conv1", "stage2.projection", "stage3.projection")
    return tuple(
        f"{name}.conv"
        for stage, first in enumerate(firsts, 1)
        for name in (
            first,
            *(
                f"stage{stage}.block{i}.{conv}"
                for i in range(blocks_per_stage)
                for conv in ("conv1", "conv2")
            ),
        )
    )


def _blocks_of(blocks_per_stage: int) -> tuple[tuple[str, ...], ...]:
    """The stem, then the blocks of the three stages; a projection belongs to the first of its stage."""
    blocks: list[tuple[str, ...]] = [("stage1.conv1",)]
    blocks += [(f"stage1.block{i}",) for i in range(blocks_per_stage)]
    for stage in ("stage2", "stage3"):
        blocks.append((f"{stage}.projection", f"{stage}.block0"))
        blocks += [(f"{stage}.block{i}",) for i in range(1, blocks_per_stage)]
    return tuple(blocks)


for _blocks in (3, 9, 18, 27):
    register(
        f"src{6 * _blocks + 2}",
        num_classes=10,
        input_size=(3, 32, 32),
        conv_order=_conv_order(_blocks),
        blocks=_blocks_of(_blocks),
        source="He et al., CVPR 2016, arXiv 1512.03385, section 4.2, shortcut option B",
    )(partial(ResNetProjection, _blocks))
