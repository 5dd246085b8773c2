"""The networks of HRank, HRankPlus, FilterSketch and FPGM for CIFAR, as their checkpoints have them.

Each network's forward pass is stated again, over a state dict of its authors' names.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from authors_layers import State, apply_conv, apply_linear, apply_norm, conv, linear, norm
from torch import Tensor

VGG_CONVS = [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)] + [(i, 3) for i in (7, 8, 9)]
VGG_CONVS += [(i, 4) for i in (10, 11, 12)]  # (place among the convolutions, pools before it)
INCEPTIONS = {
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


class CifarResNet:
    """`names`: of the stem, a stage, the two units of a block, and the head; a unit is conv and BN."""

    HRANK = ("conv1 bn1", "layer{}", "conv1 bn1", "conv2 bn2", "fc")
    HRANK110 = ("conv1 bn1", "layer{}", "conv1 bn1", "conv2 bn2", "linear")
    FPGM = ("conv_1_3x3 bn_1", "stage_{}", "conv_a bn_a", "conv_b bn_b", "classifier")

    def __init__(self, names: tuple[str, ...], blocks: int, pad: Callable[[int, int], int]) -> None:
        self.names, self.blocks, self.pad = names, blocks, pad

    def state(self, stem: int, streams: Iterable[int], middles: Iterable[int]) -> State:
        (stem_conv, stem_norm), (conv_a, norm_a), (conv_b, norm_b) = (
            self.names[i].split() for i in (0, 2, 3)
        )
        state: State = {}
        conv(state, stem_conv, 3, stem, 3)
        norm(state, stem_norm, stem)
        into = stem
        for number, (out, middle) in enumerate(zip(streams, middles, strict=True), 1):
            for block in range(self.blocks):
                at = f"{self.names[1].format(number)}.{block}"
                conv(state, f"{at}.{conv_a}", into, middle, 3)
                norm(state, f"{at}.{norm_a}", middle)
                conv(state, f"{at}.{conv_b}", middle, out, 3)
                norm(state, f"{at}.{norm_b}", out)
                into = out
        linear(state, self.names[4], into, 10)
        return state

    def logits(self, state: State, x: Tensor) -> Tensor:
        (stem_conv, stem_norm), (conv_a, norm_a), (conv_b, norm_b) = (
            self.names[i].split() for i in (0, 2, 3)
        )
        x = apply_norm(state, stem_norm, apply_conv(state, stem_conv, x, padding=1)).relu()
        for number in (1, 2, 3):
            for block in range(self.blocks):
                at = f"{self.names[1].format(number)}.{block}"
                stride = 2 if block == 0 and number > 1 else 1
                out = apply_conv(state, f"{at}.{conv_a}", x, padding=1, stride=stride)
                out = apply_norm(state, f"{at}.{norm_a}", out).relu()
                out = apply_norm(state, f"{at}.{norm_b}", apply_conv(state, f"{at}.{conv_b}", out, padding=1))
                into, wide = x.shape[1], out.shape[1]
                before = self.pad(into, wide)
                x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, before, wide - into - before))
                x = (x + out).relu()
        return apply_linear(state, self.names[4], x.mean((2, 3)))


def hrank_vgg(widths: list[int]) -> State:
    state: State = {}
    into = 3
    for (place, pools), width in zip(VGG_CONVS, widths, strict=True):
        conv(state, f"features.conv{place + pools}", into, width, 3, bias=True)
        norm(state, f"features.norm{place + pools}", width)
        into = width
    linear(state, "classifier.linear1", into, 512)
    norm(state, "classifier.norm1", 512)
    linear(state, "classifier.linear2", 512, 10)
    return state


def hrank_vgg_logits(state: State, x: Tensor) -> Tensor:
    return _vgg(state, x, "features.conv{0}", "features.norm{0}", 1, ("linear1", "norm1", "linear2"))


def fpgm_vgg(widths: list[int]) -> State:
    state: State = {}
    into = 3
    for (place, pools), width in zip(VGG_CONVS, widths, strict=True):
        conv(state, f"feature.{3 * place + pools}", into, width, 3)
        norm(state, f"feature.{3 * place + pools + 1}", width)
        into = width
    linear(state, "classifier.0", into, 512)
    norm(state, "classifier.1", 512)
    linear(state, "classifier.3", 512, 10)
    return state


def fpgm_vgg_logits(state: State, x: Tensor) -> Tensor:
    return _vgg(state, x, "feature.{0}", "feature.{1}", 3, ("0", "1", "3"))


def _vgg(state: State, x: Tensor, conv_name: str, norm_name: str, step: int, head: tuple[str, ...]) -> Tensor:
    done = 0
    for place, pools in VGG_CONVS:
        if pools > done:
            x, done = F.max_pool2d(x, 2), pools
        index = step * place + pools
        x = apply_conv(state, conv_name.format(index), x, padding=1)
        x = apply_norm(state, norm_name.format(index, index + 1), x).relu()
    first, between, last = (f"classifier.{name}" for name in head)
    x = apply_linear(state, first, F.avg_pool2d(x, 2).flatten(1))
    return apply_linear(state, last, apply_norm(state, between, x).relu())


def densenet(stem: int, growths: list[int], transitions: list[int]) -> State:
    state: State = {}
    conv(state, "conv1", 3, stem, 3)
    width = stem
    for number, growth in enumerate(growths, 1):
        for layer in range(12):
            norm(state, f"dense{number}.{layer}.bn1", width)
            conv(state, f"dense{number}.{layer}.conv1", width, growth, 3)
            width += growth
        if number < 3:
            norm(state, f"trans{number}.bn1", width)
            conv(state, f"trans{number}.conv1", width, transitions[number - 1], 1)
            width = transitions[number - 1]
    norm(state, "bn", width)
    linear(state, "fc", width, 10)
    return state


def densenet_logits(state: State, x: Tensor) -> Tensor:
    x = apply_conv(state, "conv1", x, padding=1)
    for number in (1, 2, 3):
        for layer in range(12):
            at = f"dense{number}.{layer}"
            new = apply_conv(state, f"{at}.conv1", apply_norm(state, f"{at}.bn1", x).relu(), padding=1)
            x = torch.cat([x, new], 1)
        if number < 3:
            x = apply_conv(state, f"trans{number}.conv1", apply_norm(state, f"trans{number}.bn1", x).relu())
            x = F.avg_pool2d(x, 2)
    return apply_linear(state, "fc", F.avg_pool2d(apply_norm(state, "bn", x).relu(), 8).flatten(1))


def googlenet(stem: int, modules: dict[str, tuple[int, ...]]) -> State:
    """Per module the widths of 1x1, 3x3 reduction, 3x3, 5x5 reduction, its two 3x3 convolutions, and pool."""
    state: State = {}
    _biased_unit(state, "pre_layers", 0, 3, stem, 3)
    into = stem
    for name, (n1x1, reduce3x3, n3x3, reduce5x5, first5x5, n5x5, pool) in modules.items():
        at = f"inception_{name}"
        _biased_unit(state, f"{at}.branch1x1", 0, into, n1x1, 1)
        _biased_unit(state, f"{at}.branch3x3", 0, into, reduce3x3, 1)
        _biased_unit(state, f"{at}.branch3x3", 3, reduce3x3, n3x3, 3)
        _biased_unit(state, f"{at}.branch5x5", 0, into, reduce5x5, 1)
        _biased_unit(state, f"{at}.branch5x5", 3, reduce5x5, first5x5, 3)
        _biased_unit(state, f"{at}.branch5x5", 6, first5x5, n5x5, 3)
        _biased_unit(state, f"{at}.branch_pool", 1, into, pool, 1)
        into = n1x1 + n3x3 + n5x5 + pool
    linear(state, "linear", into, 10)
    return state


def googlenet_logits(state: State, x: Tensor) -> Tensor:
    def run(x: Tensor, at: str, *places: int) -> Tensor:
        for place in places:
            padding = state[f"{at}.{place}.weight"].shape[-1] // 2
            x = apply_conv(state, f"{at}.{place}", x, padding=padding)
            x = apply_norm(state, f"{at}.{place + 1}", x).relu()
        return x

    x = run(x, "pre_layers", 0)
    for name in INCEPTIONS:
        at = f"inception_{name}"
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        branches = [run(x, f"{at}.branch1x1", 0), run(x, f"{at}.branch3x3", 0, 3)]
        branches += [run(x, f"{at}.branch5x5", 0, 3, 6), run(pooled, f"{at}.branch_pool", 1)]
        x = torch.cat(branches, 1)
        if name in ("b3", "e4"):
            x = F.max_pool2d(x, 3, stride=2, padding=1)
    return apply_linear(state, "linear", F.avg_pool2d(x, 8, stride=1).flatten(1))


def _biased_unit(state: State, at: str, place: int, into: int, out: int, kernel: int) -> None:
    conv(state, f"{at}.{place}", into, out, kernel, bias=True)
    norm(state, f"{at}.{place + 1}", out)
