"""FilterSketch's rows: Lin et al., 2020, arXiv 2001.08514; README of lmbxmu/FilterSketch.

Rates are shares kept, one per block, of the convolutions inside it: the first of a basic block, the first two
of a bottleneck, the 1x1 reductions and the first 3x3 for 5x5 of an inception module.
"""

from .recipe import Published, Recipe, Training, Variant

_README = "README of lmbxmu/FilterSketch"
_SKETCH = {"method": "sketch", "procedure": "released", "weight_norm": "l2"}
_CIFAR = Training(
    epochs=150,
    lr=0.01,
    lr_schedule="multistep",
    milestones=(50, 100),
    gamma=0.1,
    batch_size=128,
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=False,
)
_IMAGENET = Training(
    epochs=90,
    lr=0.1,
    lr_schedule="multistep",
    milestones=(30, 60),
    gamma=0.1,
    batch_size=128,
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=False,
)
_OUTPUTS = (
    "stem.*",
    "*.branch1x1.*",
    "*.branch3x3.conv2.*",
    "*.branch5x5.conv3.*",
    "*.branch_pool.*",
)


def _resnet56(
    rate: str,
    published: Published,
    *,
    macs: int,
    params: int,
    counted_as: str = "thop-2020",
    explanation: str = "",
) -> Recipe:
    return Recipe(
        name=f"filtersketch/resnet56-{rate}",
        arch="resnet56",
        dataset="cifar10",
        source=_README,
        published=published,
        counted_as=counted_as,
        rates=27,
        variants=(
            Variant(name="exact", specification={"keep_rate": f"[{rate}]*27"}, macs=macs, params=params),
        ),
        options=_SKETCH,
        finetuning=_CIFAR,
        explanation=explanation,
    )


def _resnet50(rate: str, published: Published, *, macs: int, params: int) -> Recipe:
    return Recipe(
        name=f"filtersketch/resnet50-{rate}",
        arch="resnet50",
        dataset="imagenet",
        source=_README,
        published=published,
        counted_as="thop-2019",
        drop_from="plain",
        rates=16,
        variants=(
            Variant(
                name="exact",
                specification={"keep_rate": f"[{rate}]*16", "skip": ("conv1.conv",)},
                macs=macs,
                params=params,
            ),
        ),
        options=_SKETCH,
        finetuning=_IMAGENET,
    )


RECIPES = [
    Recipe(
        name="filtersketch/resnet110",
        arch="resnet110",
        dataset="cifar10",
        source=_README,
        published=Published(
            flops="92.84M", flops_drop="63.3%", params="0.69M", params_drop="59.9%", top1="93.44%"
        ),
        counted_as="thop-2020",
        rates=54,
        variants=(
            Variant(
                name="exact",
                specification={"keep_rate": "[0.9]*3+[0.4]*24+[0.3]*24+[0.9]*3"},
                macs=100_067_968,
                params=671_692,
            ),
        ),
        options=_SKETCH,
        finetuning=_CIFAR,
        explanation=(
            "The printed rates do not give it: 101.56M and 0.67M by the authors' counter, 100.07M as "
            "multiply-accumulates. The percentages go with the printed amounts, so the rates are misprinted; "
            "no other simple list gives them."
        ),
    ),
    Recipe(
        name="filtersketch/googlenet",
        arch="googlenet",
        dataset="cifar10",
        source=_README,
        published=Published(
            flops="0.59B", flops_drop="61.1%", params="2.61M", params_drop="57.6%", top1="94.88%"
        ),
        counted_as="thop-2019",
        drop_from="plain",
        rates=9,
        variants=(
            Variant(
                name="exact",
                specification={"keep_rate": "[0.25]*9", "skip": _OUTPUTS},
                macs=581_220_352,
                params=2_607_086,
            ),
        ),
        options=_SKETCH,
        finetuning=_CIFAR,
    ),
    _resnet50(
        "0.2",
        Published(
            flops="0.93B",
            flops_drop="77.3%",
            params="7.18M",
            params_drop="71.8%",
            top1="69.43%",
            top5="89.23%",
        ),
        macs=896_462_052,
        params=7_177_694,
    ),
    _resnet50(
        "0.4",
        Published(
            flops="1.51B",
            flops_drop="63.1%",
            params="10.40M",
            params_drop="59.2%",
            top1="73.04%",
            top5="91.18%",
        ),
        macs=1_470_280_080,
        params=10_395_739,
    ),
    _resnet50(
        "0.6",
        Published(
            flops="2.23B",
            flops_drop="45.5%",
            params="14.53M",
            params_drop="43.0%",
            top1="74.68%",
            top5="92.17%",
        ),
        macs=2_187_045_563,
        params=14_532_769,
    ),
    _resnet50(
        "0.7",
        Published(
            flops="2.64B",
            flops_drop="35.5%",
            params="16.95M",
            params_drop="33.5%",
            top1="75.22%",
            top5="92.41%",
        ),
        macs=2_601_392_356,
        params=16_945_246,
    ),
    _resnet56(
        "0.1",
        Published(flops="11.43M", flops_drop="91.0%", params="0.08M", params_drop="90.45%", top1="87.38%"),
        macs=10_838_656,
        params=81_502,
    ),
    _resnet56(
        "0.2",
        Published(flops="24.54M", flops_drop="80.6%", params="0.16M", params_drop="81.0%", top1="90.19%"),
        macs=23_888_512,
        params=162_484,
    ),
    _resnet56(
        "0.3",
        Published(flops="35.61M", flops_drop="71.9%", params="0.25M", params_drop="70.6%", top1="91.65%"),
        macs=34_929_280,
        params=250_954,
    ),
    _resnet56(
        "0.4",
        Published(flops="48.72M", flops_drop="61.5%", params="0.33M", params_drop="61.1%", top1="92.00%"),
        macs=47_979_136,
        params=331_936,
    ),
    _resnet56(
        "0.5",
        Published(flops="63.78M", flops_drop="49.6%", params="0.43M", params_drop="49.8%", top1="92.29%"),
        macs=62_964_352,
        params=428_074,
    ),
    _resnet56(
        "0.6",
        Published(flops="73.36M", flops_drop="41.5%", params="0.50M", params_drop="41.2%", top1="93.19%"),
        macs=73_360_000,
        params=506_446,
        counted_as="plain",
        explanation=(
            "Counted without batch norms, unlike the other rows of its table, which count two operations per "
            "element: 74.21M (41.4%) and 0.51M (40.6%) that way."
        ),
    ),
    _resnet56(
        "0.7",
        Published(flops="87.31M", flops_drop="31.0%", params="0.59M", params_drop="31.1%", top1="93.36%"),
        macs=86_409_856,
        params=587_428,
    ),
    _resnet56(
        "0.8",
        Published(flops="98.40M", flops_drop="22.3%", params="0.68M", params_drop="20.8%", top1="93.40%"),
        macs=97_450_624,
        params=675_898,
        explanation=(
            "The percentage is that of the multiply-accumulates; of what the amount counts, batch norms "
            "included, it is 22.2%."
        ),
    ),
    _resnet56(
        "0.9",
        Published(flops="111.5M", flops_drop="11.9%", params="0.75M", params_drop="11.3%", top1="93.44%"),
        macs=110_500_480,
        params=756_880,
    ),
]
