"""HRank's rows: Lin et al., CVPR 2020, arXiv 2002.10179; README of lmbxmu/HRank.

Rates are shares removed, one per convolution, the stem first; residual networks take them with `scatter`.
The authors mask one convolution, train, and go on to the next (schedule `layer-by-layer`). All at once,
then one training, is what their later HRankPlus found better, and the default here, with the same settings.
"""

from functools import partial

from .recipe import Published, Recipe, Training, Variant

_TRAINING = Training(
    epochs=30,
    lr=0.01,
    lr_schedule="multistep",
    milestones=(5, 10),
    gamma=0.1,
    batch_size=128,
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=False,
)
_row = partial(
    Recipe,
    source="README of lmbxmu/HRank",
    counted_as="hrank",
    options={"criterion": "hrank", "limit": 5},
    pruning=_TRAINING,
    finetuning=_TRAINING,
)

_VGG16 = "[0.95]+[0.5]*6+[0.9]*4+[0.8]*2"
_RESNET56 = "[0.1]+[0.60]*35+[0.0]*2+[0.6]*6+[0.4]*3+[0.1]+[0.4]+[0.1]+[0.4]+[0.1]+[0.4]+[0.1]+[0.4]"
_RESNET110 = "[0.1]+[0.40]*36+[0.40]*36+[0.4]*36"
_DENSENET40 = "[0.0]+[0.1]*6+[0.7]*6+[0.0]+[0.1]*6+[0.7]*6+[0.0]+[0.1]*6+[0.7]*5+[0.0]"
_GOOGLENET = "[0.10]+[0.8]*5+[0.85]+[0.8]*3"
_RESNET50 = "[0.2]+[0.8]*10+[0.8]*13+[0.55]*19+[0.45]*10"
_REDUCTIONS = ("*.branch3x3.conv1.*", "*.branch5x5.conv1.*")  # GoogLeNet's 1x1 before 3x3 and 5x5

RECIPES = [
    _row(
        name="hrank/vgg16",
        arch="vgg16_bn",
        dataset="cifar10",
        published=Published(
            flops="108.61M", flops_drop="65.3%", params="2.64M", params_drop="82.1%", top1="92.34%"
        ),
        rates=13,
        variants=(
            Variant(
                name="as_code",
                specification={"compress_rate": _VGG16, "skip": ("stem.conv13.*",)},
                macs=43_232_112,
                params=1_353_859,
            ),
            Variant(
                name="all13",
                specification={"compress_rate": _VGG16},
                macs=41_506_132,
                params=764_081,
            ),
        ),
        explanation=(
            "The printed rates do not give it: HRank's own counter says 116.63M and 4.81M, for its code "
            "never prunes the 13th convolution. The printed percentages are of the convolutions alone, with "
            "all 13 rates: 108.82M and 2.655M, 0.2% and 0.6% off."
        ),
    ),
    _row(
        name="hrank/resnet56",
        arch="resnet56",
        dataset="cifar10",
        published=Published(
            flops="62.72M", flops_drop="50.0%", params="0.49M", params_drop="42.4%", top1="93.17%"
        ),
        rates=55,
        variants=(
            Variant(
                name="scatter",
                specification={"compress_rate": _RESNET56, "residual": "scatter"},
                macs=48_379_456,
                params=414_854,
            ),
            Variant(
                name="internal_only",
                specification={"compress_rate": _RESNET56, "residual": "internal"},
                macs=65_065_600,
                params=545_324,
            ),
        ),
    ),
    _row(
        name="hrank/resnet110",
        arch="resnet110",
        dataset="cifar10",
        published=Published(
            flops="156.90M", flops_drop="37.9%", params="1.04M", params_drop="38.7%", top1="94.23%"
        ),
        rates=109,
        variants=(
            Variant(
                name="scatter",
                specification={"compress_rate": _RESNET110, "residual": "scatter"},
                macs=126_777_088,
                params=853_205,
            ),
            Variant(
                name="internal_only",
                specification={"compress_rate": _RESNET110, "residual": "internal"},
                macs=156_912_256,
                params=1_061_422,
            ),
        ),
        explanation=(
            "Both percentages are right and both amounts slightly wrong: HRank's own counter says 156.88M "
            "and 1.05M. The README corrects the paper's 148.70M (41.2%)."
        ),
    ),
    _row(
        name="hrank/densenet40",
        arch="densenet40",
        dataset="cifar10",
        published=Published(
            flops="167.41M", flops_drop="40.8%", params="0.66M", params_drop="36.5%", top1="94.24%"
        ),
        rates=39,
        variants=(
            Variant(
                name="concat",
                specification={"compress_rate": _DENSENET40},
                macs=157_654_724,
                params=656_941,
            ),
        ),
    ),
    _row(
        name="hrank/googlenet",
        arch="googlenet",
        dataset="cifar10",
        published=Published(
            flops="0.45B", flops_drop="70.4%", params="1.86M", params_drop="69.8%", top1="94.07%"
        ),
        rates=10,
        variants=(
            Variant(
                name="as_mask",
                specification={"compress_rate": _GOOGLENET, "skip": _REDUCTIONS},
                macs=248_687_884,
                params=902_693,
            ),
            Variant(
                name="as_counter",
                specification={
                    "compress_rate": "[0.10]+[0.8]*4+[0.85]*2+[0.8]*3",
                    "skip": _REDUCTIONS,
                },
                macs=242_992_652,
                params=880_362,
            ),
        ),
        counted="as_counter",
        explanation=(
            "The printed numbers need a slip of HRank's counter: module c4 reads the rate of d4, 0.85. "
            "With its own, which is what the code prunes by, they are 0.46B and 1.88M."
        ),
    ),
    _row(
        name="hrank/resnet50",
        arch="resnet50",
        dataset="imagenet",
        published=Published(flops="1.55B", params="13.77M", top1="71.98%", top5="91.01%"),
        rates=53,
        variants=(
            Variant(
                name="scatter",
                specification={"compress_rate": _RESNET50, "residual": "scatter"},
                macs=986_624_110,
                params=9_840_341,
            ),
            Variant(
                name="internal_only",
                specification={
                    "compress_rate": _RESNET50,
                    "residual": "internal",
                    "skip": ("conv1.conv",),
                },
                macs=1_410_219_212,
                params=12_434_507,
            ),
        ),
    ),
]
