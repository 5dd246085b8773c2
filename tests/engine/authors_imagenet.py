"""The networks of HRankPlus for ImageNet, as their checkpoints have them.

Each network's forward pass is stated again, over a state dict of its authors' names.
"""

import torch.nn.functional as F
from authors_layers import State, apply_conv, apply_linear, apply_norm, conv, linear, norm
from torch import Tensor


def bottleneck_resnet(stem: int, streams: list[int], middles: list[int]) -> State:
    state: State = {}
    conv(state, "conv1", 3, stem, 7)
    norm(state, "bn1", stem)
    into = stem
    for number, (blocks, out, middle) in enumerate(zip((3, 4, 6, 3), streams, middles, strict=True), 1):
        for block in range(blocks):
            at = f"layer{number}.{block}"
            for unit, a, b, kernel in ((1, into, middle, 1), (2, middle, middle, 3), (3, middle, out, 1)):
                conv(state, f"{at}.conv{unit}", a, b, kernel)
                norm(state, f"{at}.bn{unit}", b)
            if block == 0:
                conv(state, f"{at}.downsample.0", into, out, 1)
                norm(state, f"{at}.downsample.1", out)
            into = out
    linear(state, "fc", into, 1000)
    return state


def bottleneck_resnet_logits(state: State, x: Tensor) -> Tensor:
    x = apply_norm(state, "bn1", apply_conv(state, "conv1", x, stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for number, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            at, stride = f"layer{number}.{block}", 2 if block == 0 and number > 1 else 1
            out = apply_norm(state, f"{at}.bn1", apply_conv(state, f"{at}.conv1", x)).relu()
            out = apply_conv(state, f"{at}.conv2", out, stride=stride, padding=1)
            out = apply_conv(state, f"{at}.conv3", apply_norm(state, f"{at}.bn2", out).relu())
            if block == 0:
                x = apply_conv(state, f"{at}.downsample.0", x, stride=stride)
                x = apply_norm(state, f"{at}.downsample.1", x)
            x = (x + apply_norm(state, f"{at}.bn3", out)).relu()
    return apply_linear(state, "fc", x.mean((2, 3)))


MOBILE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet(widths: list[int]) -> State:
    state: State = {}
    conv(state, "conv1.0", 3, 32, 3)
    norm(state, "conv1.1", 32)
    into = 32
    for place, out in enumerate(widths):
        conv(state, f"features.{place}.0", 1, into, 3)
        norm(state, f"features.{place}.1", into)
        conv(state, f"features.{place}.3", into, out, 1)
        norm(state, f"features.{place}.4", out)
        into = out
    linear(state, "classifier.0", into, 1000)
    return state


def mobilenet_logits(state: State, x: Tensor) -> Tensor:
    x = apply_norm(state, "conv1.1", apply_conv(state, "conv1.0", x, stride=2, padding=1)).relu()
    for place, (_, stride) in enumerate(MOBILE):
        at = f"features.{place}"
        x = apply_conv(state, f"{at}.0", x, stride=stride, padding=1, groups=x.shape[1])
        x = apply_conv(state, f"{at}.3", apply_norm(state, f"{at}.1", x).relu())
        x = apply_norm(state, f"{at}.4", x).relu()
    return apply_linear(state, "classifier.0", x.mean((2, 3)))


# Per stage of MobileNetV2: factor, width, blocks, stride.
MOBILE2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(widths: list[int]) -> State:
    """HRankPlus' form, of one width per stage: the inside of a block is a multiple of what goes in."""
    state: State = {}
    conv(state, "features.0.0", 3, 32, 3)
    norm(state, "features.0.1", 32)
    into, place = 32, 1
    for (factor, _, blocks, _), out in zip(MOBILE2, widths, strict=True):
        for _ in range(blocks):
            at, inside = f"features.{place}.conv", into * factor
            first = 3 if factor > 1 else 0
            if factor > 1:
                conv(state, f"{at}.0", into, inside, 1)
                norm(state, f"{at}.1", inside)
            conv(state, f"{at}.{first}", 1, inside, 3)
            norm(state, f"{at}.{first + 1}", inside)
            conv(state, f"{at}.{first + 3}", inside, out, 1)
            norm(state, f"{at}.{first + 4}", out)
            into, place = out, place + 1
    conv(state, "features.18.0", into, 1280, 1)
    norm(state, "features.18.1", 1280)
    linear(state, "classifier.1", 1280, 1000)
    return state


def mobilenet_v2_logits(state: State, x: Tensor) -> Tensor:
    def unit(at: str, number: int, x: Tensor, **options: int) -> Tensor:
        return apply_norm(state, f"{at}.{number + 1}", apply_conv(state, f"{at}.{number}", x, **options))

    x = F.relu6(unit("features.0", 0, x, stride=2, padding=1))
    place = 1
    for factor, _, blocks, stride in MOBILE2:
        for block in range(blocks):
            at, first = f"features.{place}.conv", 3 if factor > 1 else 0
            out = F.relu6(unit(at, 0, x)) if factor > 1 else x
            step = 1 if block else stride
            out = F.relu6(unit(at, first, out, stride=step, padding=1, groups=out.shape[1]))
            out = unit(at, first + 3, out)
            x = x + out if block else out
            place += 1
    x = F.relu6(unit("features.18", 0, x))
    return apply_linear(state, "classifier.1", x.mean((2, 3)))
