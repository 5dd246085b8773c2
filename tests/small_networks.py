"""Small instances of the families of networks that are pruned most: their own code, but fewer blocks.

What costs time is how many operations there are to follow, and a family's pattern is there after a few.
"""

from functools import partial
from unittest.mock import patch

from prune.archs import densenet as densenet_cifar
from prune.archs import mobilenet
from prune.archs import resnet_imagenet as ours
from prune.archs.googlenet import GoogLeNetCifar
from prune.archs.resnet_cifar import ResNetCifar
from torch import nn
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.googlenet import GoogLeNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet


def resnet8(num_classes: int) -> nn.Module:
    """ResNet-20 with one block per stage."""
    return ResNetCifar(1, num_classes)


def mobilenet_v1(num_classes: int) -> nn.Module:
    """MobileNetV1 with three blocks of thirteen."""
    with patch.object(mobilenet, "_WIDTHS_AND_STRIDES", ((64, 1), (128, 2), (1024, 2))):
        return mobilenet.MobileNetV1(num_classes)


def densenet16(num_classes: int) -> nn.Module:
    """DenseNet-40 with 4 layers per block."""
    with patch.object(densenet_cifar, "_LAYERS", 4):
        return densenet_cifar.DenseNetCifar(num_classes)


def _without(model: nn.Module, *modules: str) -> nn.Module:
    """Without modules that change no width."""
    for name in modules:
        setattr(model, name, nn.Identity())
    return model


def googlenet_cifar(num_classes: int) -> nn.Module:
    """GoogLeNet for small images with six modules of nine."""
    return _without(GoogLeNetCifar(num_classes), "inception_b4", "inception_c4", "inception_a5")


def googlenet(num_classes: int) -> nn.Module:
    """torchvision's, with its auxiliary heads, which only run in training, and six modules of nine."""
    model = GoogLeNet(num_classes, init_weights=False)
    return _without(model, "inception4b", "inception4c", "inception5a")


def basic(num_classes: int) -> nn.Module:
    """ResNet-18 with one or two blocks per stage."""
    return ours.ResNetImageNet(ours.BasicBlock, (2, 1, 1, 1), num_classes)


def bottleneck(num_classes: int) -> nn.Module:
    """ResNet-50 with one or two blocks per stage."""
    return ours.ResNetImageNet(ours.Bottleneck, (2, 1, 2, 1), num_classes)


def resnet_basic(num_classes: int) -> nn.Module:
    """torchvision's ResNet-18 with one or two blocks per stage."""
    return ResNet(BasicBlock, [2, 1, 1, 1], num_classes)


def resnet(num_classes: int) -> nn.Module:
    """torchvision's ResNet-50 with one or two blocks per stage."""
    return ResNet(Bottleneck, [2, 1, 2, 1], num_classes)


def resnext(num_classes: int) -> nn.Module:
    """torchvision's ResNeXt-50 with one or two blocks per stage."""
    return ResNet(Bottleneck, [2, 1, 2, 1], num_classes, groups=32, width_per_group=4)


def densenet(num_classes: int) -> nn.Module:
    """torchvision's DenseNet-121 with two or three layers per block that grow by 16."""
    return DenseNet(16, (2, 3, 2, 2), 32, num_classes=num_classes)


def mobilenet_v2(num_classes: int) -> nn.Module:
    """torchvision's, five blocks."""
    return MobileNetV2(num_classes, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]])


def regnet_y(num_classes: int) -> nn.Module:
    """torchvision's, three stages."""
    blocks = BlockParams([1, 2, 2], [48, 104, 208], [8, 8, 8], [1.0] * 3, [2] * 3, se_ratio=0.25)
    return RegNet(blocks, num_classes)


def efficientnet(num_classes: int) -> nn.Module:
    """torchvision's, five blocks of the first five stages of EfficientNet-B0."""
    block = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
    blocks = [
        block(1, 3, 1, 32, 16, 1),
        block(6, 3, 2, 16, 24, 2),
        block(6, 5, 2, 24, 40, 2),
    ]
    return EfficientNet(blocks, 0.2, num_classes=num_classes, last_channel=320)
