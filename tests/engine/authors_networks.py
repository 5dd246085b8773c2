"""The networks of HRank, HRankPlus, FilterSketch and FPGM as their checkpoints have them: names and shapes.

Each network's forward pass is stated again, over a state dict of its authors' names.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
_RANDOM = torch.Generator().manual_seed(0)

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


def conv(state: State, name: str, into: int, out: int, kernel: int, bias: bool = False) -> None:
    fan = into * kernel * kernel
    state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=_RANDOM) * (2 / fan) ** 0.5
    if bias:
        state[f"{name}.bias"] = torch.rand(out, generator=_RANDOM) * 0.2 - 0.1


def norm(state: State, name: str, width: int) -> None:
    """A BN that does something: on a fresh one even wrong channels give the right numbers."""
    state[f"{name}.weight"] = torch.rand(width, generator=_RANDOM) * 0.5 + 0.75
    state[f"{name}.bias"] = torch.rand(width, generator=_RANDOM) * 0.4 - 0.2
    state[f"{name}.running_mean"] = torch.rand(width, generator=_RANDOM) * 0.4 - 0.2
    state[f"{name}.running_var"] = torch.rand(width, generator=_RANDOM) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def linear(state: State, name: str, into: int, out: int) -> None:
    state[f"{name}.weight"] = torch.randn(out, into, generator=_RANDOM) * into**-0.5
    state[f"{name}.bias"] = torch.rand(out, generator=_RANDOM)


def apply_conv(state: State, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def apply_norm(state: State, name: str, x: Tensor) -> Tensor:
    statistics = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, *statistics, state[f"{name}.weight"], state[f"{name}.bias"])


def apply_linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


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
