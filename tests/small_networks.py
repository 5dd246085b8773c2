"""Small instances of the families of networks that are pruned most: their own code, but fewer blocks.

What costs time is how many operations there are to follow, and a family's pattern is there after a few.
"""

from functools import partial
from unittest.mock import patch

from prune.archs import densenet as densenet_cifar
from prune.archs import googlenet as googlenet_of_cifar
from prune.archs import mobilenet, vgg_cifar
from prune.archs import resnet_imagenet as ours
from prune.archs.resnet_cifar import ResNetCifar
from torch import nn
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.googlenet import GoogLeNet, Inception
from torchvision.models.mnasnet import MNASNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet


def mobilenet_v1(num_classes: int) -> nn.Module:
    """MobileNetV1 with three blocks of thirteen."""
    with patch.object(mobilenet, "_WIDTHS_AND_STRIDES", ((64, 1), (128, 2), (1024, 2))):
        return mobilenet.MobileNetV1(num_classes)


def densenet10(num_classes: int) -> nn.Module:
    """DenseNet-40 with 2 layers per block."""
    with patch.object(densenet_cifar, "_LAYERS", 2):
        return densenet_cifar.DenseNetCifar(num_classes)


def _without(model: nn.Module, *modules: str) -> nn.Module:
    """Without modules that change no width."""
    for name in modules:
        setattr(model, name, nn.Identity())
    return model


def vgg(num_classes: int, bias: bool = False) -> nn.Module:
    """VGG-16 with one convolution per size of images."""
    with patch.object(vgg_cifar, "_WIDTHS", ((64,), (128,), (256,), (512,))):
        return vgg_cifar.VGGCifar(num_classes, bias)


def vgg_bias(num_classes: int) -> nn.Module:
    """The same, with biases before its norms."""
    return vgg(num_classes, bias=True)


def googlenet_cifar(num_classes: int) -> nn.Module:
    """GoogLeNet for small images with the last module of each size."""
    model = googlenet_of_cifar.GoogLeNetCifar(num_classes)
    for name, into in (("b3", 192), ("e4", 480)):
        module = googlenet_of_cifar.Inception(into, googlenet_of_cifar._WIDTHS[name])
        setattr(model, f"inception_{name}", module)
    return _without(model, *(f"inception_{name}" for name in ("a3", "a4", "b4", "c4", "d4", "a5")))


def googlenet(num_classes: int) -> nn.Module:
    """torchvision's, with its auxiliary heads, which only run in training, and three modules of nine."""
    model = GoogLeNet(num_classes, init_weights=False)
    model.inception4a = Inception(192, 192, 96, 208, 16, 48, 64)
    model.inception5b = Inception(528, 384, 192, 384, 48, 128, 128)
    return _without(model, *(f"inception{name}" for name in ("3a", "3b", "4b", "4c", "4e", "5a")))


def resnet8(num_classes: int) -> nn.Module:
    """ResNet-20 with one block per stage."""
    return ResNetCifar(1, num_classes)


def bottleneck(num_classes: int) -> nn.Module:
    """ResNet-50 with one or two blocks per stage."""
    return ours.ResNetImageNet(ours.Bottleneck, (2, 1, 2, 1), num_classes)


def resnet_basic(num_classes: int) -> nn.Module:
    """torchvision's ResNet-18 with one or two blocks per stage."""
    return ResNet(BasicBlock, [2, 1, 1, 1], num_classes)


def _two_stages(model: ResNet) -> nn.Module:
    """Without the third and the fourth."""
    model.fc = nn.Linear(512, model.fc.out_features)
    return _without(model, "layer3", "layer4")


def resnet(num_classes: int) -> nn.Module:
    """torchvision's ResNet-50 with one or two blocks in each of two stages."""
    return _two_stages(ResNet(Bottleneck, [2, 1, 1, 1], num_classes))


def resnext(num_classes: int) -> nn.Module:
    """torchvision's ResNeXt-50 with one or two blocks in each of two stages."""
    return _two_stages(ResNet(Bottleneck, [2, 1, 1, 1], num_classes, groups=32, width_per_group=4))


def densenet(num_classes: int) -> nn.Module:
    """torchvision's DenseNet-121 with two blocks of two or three layers that grow by 16."""
    return DenseNet(16, (2, 3), 32, num_classes=num_classes)


def mobilenet_v2(num_classes: int) -> nn.Module:
    """torchvision's, five blocks."""
    return MobileNetV2(num_classes, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]])


def mnasnet(num_classes: int) -> nn.Module:
    """torchvision's, half as wide and with one block per stack."""
    model = MNASNet(0.5, num_classes)
    for number in range(8, 14):
        model.layers[number] = model.layers[number][:1]
    return model


def regnet_y(num_classes: int) -> nn.Module:
    """torchvision's, two stages."""
    blocks = BlockParams([1, 2], [48, 104], [8, 8], [1.0] * 2, [2] * 2, se_ratio=0.25)
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
