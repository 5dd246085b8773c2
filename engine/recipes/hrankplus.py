"""HRankPlus' rows, as far as their rates are known; README and programs of lmbxmu/HRankPlus.

Scores are HRank's, all layers are pruned at once, and one training follows, with the programs' defaults: the
authors' own settings lie in files beside their networks, which are not in the repository.

The README does not print the rates that were used: those here are the ones that give its numbers. Of two
ResNet-50s (1.38B and 1.02B) nothing simple gives them, and of the MobileNets no row is printed.

Rates are shares kept, one per convolution in forward order. Theirs are shares removed: of the stem, of the
streams of all stages but the last, which stays whole, then of what is inside each block. Their ResNets keep
the stem whole, so that the first shortcut crops it to the stream of the first stage.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from .recipe import Published, Recipe, Training, Variant

_CIFAR = Training(
    epochs=150,
    lr=0.01,
    lr_schedule="multistep",
    milestones=(50, 100),
    gamma=0.1,
    batch_size=256,
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=False,
)
_IMAGENET = Training(
    epochs=90,
    lr=0.1,
    lr_schedule="multistep",
    milestones=(30, 60, 80),
    gamma=0.1,
    warmup_epochs=5,
    batch_size=64,
    momentum=0.9,
    weight_decay=1e-4,
    nesterov=False,
    label_smoothing=0.1,
)
_COSINE = replace(_IMAGENET, lr_schedule="cosine", milestones=(), gamma=None)
_DROP_OF = "The amounts are right; the drop of FLOPs is of {}, as the full network is printed, which has {}."


def _row(
    arch: str,
    kept: Iterable[float],
    published: Published,
    *,
    macs: int,
    params: int,
    also: Mapping[str, object] | None = None,
    suffix: str = "",
    **changes: Any,
) -> Recipe:
    """One row; `kept` are its rates, `also` is what else its specification says."""
    rates = list(kept)
    variant = Variant(
        name="coupled" if also and "residual" in also else "exact",
        specification={"keep_rate": _listed(rates), **(also or {})},
        macs=macs,
        params=params,
    )
    said: dict[str, Any] = {
        "dataset": "cifar10",
        "counted_as": "thop-2020",
        "options": {"criterion": "hrank", "limit": 5},
        "finetuning": _CIFAR,
    }
    return Recipe(
        name=f"hrankplus/{arch.removesuffix('_bn')}-{published.flops_drop.rstrip('%')}{suffix}",
        arch=arch,
        source="README of lmbxmu/HRankPlus; rates: those that give its numbers",
        published=published,
        drop_from="plain",
        rates=len(rates),
        variants=(variant,),
        **{**said, **changes},
    )


def _printed(
    flops: str, flops_drop: str, params: str, params_drop: str, top1: str, top5: str = ""
) -> Published:
    return Published(
        flops=flops, flops_drop=flops_drop, params=params, params_drop=params_drop, top1=top1, top5=top5
    )


def _listed(rates: Iterable[float]) -> str:
    """Rates in the papers' grammar, runs of the same one written once."""
    runs = ((rate, len(list(run))) for rate, run in groupby(rates))
    return "+".join(f"[{rate}]" if count == 1 else f"[{rate}]*{count}" for rate, count in runs)


def _vgg16(first: float, last: float, published: Published, **record: Any) -> Recipe:
    """VGG-16: seven convolutions, then five; the 13th is never pruned."""
    return _row("vgg16_bn", [first] * 7 + [last] * 5 + [1.0], published, **record)


def _small_resnet(
    blocks: int, streams: Sequence[float], insides: Sequence[float], published: Published, **record: Any
) -> Recipe:
    """ResNet-56 and -110: per stage what stays of its stream, and of the inside of each of its blocks."""
    kept = [1.0]
    for stream, inside in zip(streams, insides, strict=True):
        kept += [inside, stream] * blocks
    return _row(f"resnet{6 * blocks + 2}", kept, published, also={"residual": "coupled"}, **record)


def _googlenet(kept: Iterable[float], published: Published, **record: Any) -> Recipe:
    """GoogLeNet: per module what stays of its 3x3 convolutions; outputs of the last module stay whole."""
    whole = ("stem", "*.branch1x1", "*.branch_pool", "*.branch3x3.conv1", "*.branch5x5.conv1")
    whole += ("inception_b5.branch3x3.conv2", "inception_b5.branch5x5.conv3")
    return _row(
        "googlenet",
        kept,
        published,
        also={"skip": tuple(f"{name}.*" for name in whole)},
        counted_as="thop-2020-avgpool",
        explanation=_DROP_OF.format("1520M", "1521.76M"),
        **record,
    )


def _densenet40(
    growth: float, transitions: tuple[float, float], published: Published, **record: Any
) -> Recipe:
    """DenseNet-40: what stays of every layer and, of their full width, of the transitions."""
    first, second = transitions
    return _row(
        "densenet40",
        [1.0, *[growth] * 12, first, *[growth] * 12, second, *[growth] * 12],
        published,
        counted_as="thop-2020-avgpool",
        explanation=_DROP_OF.format("282.00M", "282.92M"),
        **record,
    )


def _resnet50(stream: float, inside: float, published: Published, **record: Any) -> Recipe:
    """ResNet-50: the streams of three stages narrow by one rate, the inside of all blocks by another."""
    kept = [1.0]
    for blocks, out in ((3, stream), (4, stream), (6, stream), (3, 1.0)):
        kept += [out, *[inside, inside, out] * blocks]  # the projection comes first
    record = {"dataset": "imagenet", "finetuning": _IMAGENET, **record}
    return _row("resnet50", kept, published, also={"residual": "coupled"}, **record)


RECIPES = [
    _vgg16(
        0.79,
        0.25,
        _printed("131.17M", "58.1%", "2.76M", "81.6%", "93.73%"),
        macs=130_566_528,
        params=2_766_541,
    ),
    _vgg16(
        0.7,
        0.25,
        _printed("104.78M", "66.6%", "2.50M", "83.3%", "93.56%"),
        macs=104_242_752,
        params=2_505_793,
    ),
    _vgg16(
        0.55,
        0.22,
        _printed("66.95M", "78.6%", "1.90M", "87.3%", "93.10%"),
        macs=66_521_088,
        params=1_901_836,
    ),
    _small_resnet(
        9,
        (0.82, 0.82, 1.0),
        (0.82, 0.82, 0.82),
        _printed("90.35M", "28.0%", "0.66M", "22.3%", "93.85%"),
        macs=89_460_352,
        params=660_157,
    ),
    _small_resnet(
        9,
        (0.85, 0.85, 1.0),
        (0.6, 0.6, 0.6),
        _printed("65.94M", "47.4%", "0.48M", "42.8%", "93.57%"),
        macs=65_168_128,
        params=485_413,
    ),
    _small_resnet(
        9,
        (0.6, 0.6, 1.0),
        (0.5, 0.4, 0.3),
        _printed("34.78M", "74.1%", "0.24M", "70.0%", "92.32%"),
        macs=34_197_184,
        params=240_793,
        explanation=(
            "Both amounts are right; of the full network's 125.49M and 0.85M they are 72.3% and 71.6% less, "
            "not 74.1% and 70.0%."
        ),
    ),
    _small_resnet(
        18,
        (0.8, 0.8, 1.0),
        (0.7, 0.65, 0.65),
        _printed("140.54M", "44.4%", "1.04M", "39.1%", "94.20%"),
        macs=139_006_144,
        params=1_045_951,
    ),
    _small_resnet(
        18,
        (0.75, 0.75, 1.0),
        (0.6, 0.45, 0.45),
        _printed("101.97M", "59.6%", "0.72M", "58.1%", "93.81%"),
        macs=100_602_496,
        params=719_746,
    ),
    _small_resnet(
        18,
        (0.6, 0.6, 1.0),
        (0.5, 0.35, 0.35),
        _printed("71.69M", "71.6%", "0.54M", "68.3%", "93.23%"),
        macs=70_554_880,
        params=543_742,
    ),
    _googlenet(
        [0.4] * 2 + [0.3] * 5 + [0.199] * 2,  # int(320 * (1 - 0.8)) is 63 in theirs, not 64
        _printed("649.19M", "57.2%", "2.85M", "53.5%", "95.04%"),
        macs=643_804_480,
        params=2_857_760,
    ),
    _googlenet(
        [0.15] * 2 + [0.0999] * 7,  # and int(320 * (1 - 0.9)) is 31
        _printed("395.42M", "73.9%", "2.09M", "65.8%", "94.82%"),
        macs=390_804_480,
        params=2_099_266,
    ),
    _densenet40(
        0.8,
        (0.79, 0.77),
        _printed("173.39M", "38.5%", "0.62M", "40.1%", "94.51%"),
        macs=169_583_640,
        params=622_924,
    ),
    _densenet40(
        0.7,
        (0.645, 0.588),
        _printed("133.17M", "52.7%", "0.45M", "56.5%", "93.91%"),
        macs=129_828_582,
        params=451_882,
    ),
    _densenet40(
        0.6,
        (0.645, 0.616),
        _printed("113.08M", "59.9%", "0.39M", "61.9%", "93.66%"),
        macs=109_936_968,
        params=395_908,
    ),
    _resnet50(
        0.9,
        0.65,
        _printed("2.26B", "44.8%", "15.09M", "40.8%", "75.56%", "92.63%"),
        macs=2_240_373_880,
        params=15_091_575,
    ),
    _resnet50(
        0.75,
        0.5,
        _printed("1.52B", "62.8%", "11.05M", "56.7%", "74.19%", "91.94%"),
        macs=1_507_328_000,
        params=11_047_336,
    ),
    _resnet50(
        0.75,
        0.5,
        _printed("1.52B", "62.8%", "11.05M", "56.7%", "75.83%", "92.85%"),
        macs=1_507_328_000,
        params=11_047_336,
        suffix="-cosine",
        finetuning=_COSINE,
    ),
    _resnet50(
        0.5,
        0.4,
        _printed("0.95B", "76.7%", "8.02M", "68.6%", "72.30%", "90.74%"),
        macs=943_231_376,
        params=8_017_755,
    ),
]
