"""FPGM's rows: He et al., CVPR 2019, arXiv 1811.00250; he-y/filter-pruning-geometric-median.

One pair of rates for every convolution and the stem, never for projections or linear layers: a share kept
by norm and a share removed by distance. Rows called `mix` use both, 30% by norm and 10% by distance as the
authors' scripts have it; their paper's text has it the other way round, `-text`. Masks are chosen anew
after every epoch of one training, from random weights, or from pretrained ones at a tenth of the learning
rate. The paper lets masked filters grow back between masks (schedule `soft`); the authors' ResNet programs
also zero their gradients (`hard`).
"""

from dataclasses import replace

from .recipe import Published, Recipe, Training, Variant

_PAPER = "FPGM, tables 1 and 2"
_TEXT = "FPGM, section 4.1: 10% by norm, 30% by distance"
_README = "README of he-y/filter-pruning-geometric-median"
_SCRIPTS = "scripts of he-y/filter-pruning-geometric-median"

_CIFAR = Training(
    epochs=200,
    lr=0.1,
    lr_schedule="multistep",
    milestones=(60, 120, 160),
    gamma=0.2,
    batch_size=128,
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=True,
)
_RESNET110 = replace(_CIFAR, warmup_epochs=1)  # the authors': a tenth of the rate throughout the first epoch
_IMAGENET = Training(
    epochs=100,
    lr=0.1,
    lr_schedule="multistep",
    milestones=(30, 60, 90),
    gamma=0.1,
    batch_size=256,
    momentum=0.9,
    weight_decay=1e-4,
    nesterov=True,
)
_VGG = Training(
    epochs=160,
    lr=0.1,
    lr_schedule="multistep",
    milestones=(80, 120),
    gamma=0.1,
    batch_size=64,
    momentum=0.9,
    weight_decay=1e-4,
    nesterov=False,
)

_SOFT = {"schedule": "soft", "prune_every": 1}
_COUNTED_AS = {  # networks for ImageNet; those for CIFAR are counted as they are
    "resnet18": "fpgm-basic",
    "resnet34": "fpgm-basic",
    "resnet50": "fpgm-bottleneck",
    "resnet101": "fpgm-bottleneck",
    "resnet152": "fpgm-bottleneck",
}


def _resnet(
    row: str,
    rate_norm: float,
    rate_dist: float,
    flops: str,
    flops_drop: str,
    scratch: str,
    pretrained: str,
    scatter: tuple[int, int],
    internal: tuple[int, int],
    coupled: tuple[int, int],
    *,
    source: str = _PAPER,
    explanation: str = "",
) -> list[Recipe]:
    """A row from random weights or from pretrained ones, or both, as the paper has them.

    Args:
        row: the arch, a dash and the pruned share.
        rate_norm: share kept by norm.
        rate_dist: share removed by distance.
        flops, flops_drop: as printed.
        scratch, pretrained: top-1 as printed, from random and from pretrained weights.
        scatter, internal, coupled: MACs and params of the narrow network, per residual mode.
    """
    arch = row.partition("-")[0]
    counted_as = _COUNTED_AS.get(arch, "fpgm")
    imagenet = arch in _COUNTED_AS
    training = _IMAGENET if imagenet else _RESNET110 if arch == "resnet110" else _CIFAR
    rates = {"rate_norm": float(rate_norm), "rate_dist": rate_dist}
    unprojected = {"skip": ("*.projection.*",)} if imagenet else {}
    # Before bottlenecks the stem is no stream; the reading of whole streams leaves it alone all the same.
    stemless = {"skip": ("conv1.conv",)} if counted_as == "fpgm-bottleneck" else {}
    recipe = Recipe(
        name=f"fpgm/{row}",
        arch=arch,
        dataset="imagenet" if imagenet else "cifar10",
        source=source,
        published=Published(flops=flops, flops_drop=flops_drop, top1=scratch),
        counted_as=counted_as,
        variants=(
            Variant(
                name="scatter",
                specification={**rates, "residual": "scatter", **unprojected},
                macs=scatter[0],
                params=scatter[1],
            ),
            Variant(
                name="internal_only",
                specification={**rates, "residual": "internal", **stemless},
                macs=internal[0],
                params=internal[1],
            ),
            Variant(
                name="group_coupled",
                specification={**rates, "residual": "coupled"},
                macs=coupled[0],
                params=coupled[1],
            ),
        ),
        options={**_SOFT, "scratch": True},
        base=training,
        pruning=training,
        explanation=explanation,
    )
    if not pretrained:
        return [recipe]
    from_pretrained = replace(
        recipe,
        name=f"fpgm/{row}-pretrained" if scratch else recipe.name,
        published=replace(recipe.published, top1=pretrained),
        options=_SOFT,
        pruning=replace(training, lr=0.01),
    )
    return [recipe, from_pretrained] if scratch else [from_pretrained]


def _pfec(name: str, top1: str, finetuning: Training, explanation: str = "") -> Recipe:
    """VGG-16 with the widths that Li et al. found, ICLR 2017, arXiv 1608.08710."""
    return Recipe(
        name=name,
        arch="vgg16",
        dataset="cifar10",
        source="FPGM, table 4",
        published=Published(flops_drop="34.2%", top1=top1),
        counted_as="plain",
        rates=13,
        variants=(
            Variant(
                name="exact",
                specification={"compress_rate": "[0.5]+[0.0]*6+[0.5]*6"},
                macs=206_279_680,
                params=5_397_034,
            ),
        ),
        options={"criterion": "l1"},
        base=_VGG,
        finetuning=finetuning,
        explanation=explanation,
    )


# fmt: off
_RESNETS = (
    # row, kept by norm, removed by distance; as printed: FLOPs, their drop, top-1 from scratch, pretrained;
    # MACs and params of scatter, internal_only, group_coupled
    *_resnet("resnet20-30", 1, 0.3, "2.43E7", "42.2%", "91.09%", "",
        (24_721_984, 160_916), (29_510_272, 191_626), (21_452_994, 136_273),
        explanation="The percentage is right; the amount has two digits swapped: 2.34E7."),
    *_resnet("resnet20-40", 1, 0.4, "1.87E7", "54.0%", "90.44%", "",
        (19_586_368, 130_675), (25_307_776, 166_072), (15_705_030, 102_183)),
    *_resnet("resnet32-30", 1, 0.3, "4.03E7", "41.5%", "92.31%", "",
        (42_394_816, 278_664), (50_006_656, 329_482), (36_302_274, 234_041)),
    *_resnet("resnet32-40", 1, 0.4, "3.23E7", "53.2%", "91.93%", "",
        (33_798_592, 226_933), (42_855_040, 285_452), (26_582_214, 175_491)),
    *_resnet("resnet56-40", 1, 0.4, "5.94E7", "52.6%", "92.93%", "93.49%",
        (62_223_040, 419_449), (77_949_568, 524_212), (48_336_582, 322_107)),
    *_resnet("resnet110-40", 1, 0.4, "1.21E8", "52.3%", "93.73%", "93.74%",
        (126_178_048, 852_610), (156_912_256, 1_061_422), (97_283_910, 651_993)),
    *_resnet("resnet20-mix40", 0.7, 0.1, "1.87E7", "54.0%", "91.99%", "",
        (20_683_072, 131_760), (26_192_512, 166_942), (16_939_974, 103_538)),
    *_resnet("resnet32-mix40", 0.7, 0.1, "3.23E7", "53.2%", "92.82%", "",
        (35_577_280, 228_692), (44_329_600, 286_902), (28_591_302, 177_610)),
    *_resnet("resnet56-mix40", 0.7, 0.1, "5.94E7", "52.6%", "92.89%", "93.26%",
        (65_365_696, 422_556), (80_603_776, 526_822), (51_893_958, 325_754)),
    *_resnet("resnet110-mix40", 0.7, 0.1, "1.21E8", "52.3%", "93.85%", "",
        (132_389_632, 858_750), (162_220_672, 1_066_642), (104_324_934, 659_078)),
    *_resnet("resnet18-30", 1, 0.3, "", "41.8%", "67.78%", "68.34%",
        (1_063_235_858, 7_087_382), (1_315_637_504, 8_410_928), (920_550_923, 5_868_242)),
    *_resnet("resnet34-30", 1, 0.3, "", "41.1%", "71.79%", "72.54%",
        (2_170_202_747, 13_129_384), (2_615_747_840, 15_510_112), (1_834_374_365, 10_854_166)),
    *_resnet("resnet50-30", 1, 0.3, "", "42.2%", "75.03%", "75.59%",
        (2_404_150_941, 15_945_350), (2_629_867_579, 17_021_126), (2_041_787_091, 13_013_424)),
    *_resnet("resnet50-40", 1, 0.4, "", "53.5%", "74.13%", "74.83%",
        (1_946_020_492, 13_369_223), (2_213_085_584, 14_601_827), (1_513_501_055, 9_743_596)),
    *_resnet("resnet101-30", 1, 0.3, "", "42.2%", "", "77.32%",
        (4_419_944_301, 26_266_628), (4_829_787_259, 28_292_262), (3_873_454_131, 22_395_282),
        explanation="42.2% is the number of ResNet-50; the authors' formula gives 44.1% for ResNet-101."),
    *_resnet("resnet18-mix30", 0.8, 0.1, "", "41.8%", "67.81%", "68.41%",
        (1_078_500_338, 7_095_566), (1_326_023_936, 8_417_272), (937_918_875, 5_879_732)),
    *_resnet("resnet34-mix30", 0.8, 0.1, "", "41.1%", "72.11%", "72.63%",
        (2_194_202_555, 13_144_537), (2_633_359_616, 15_522_222), (1_861_987_629, 10_873_822)),
    *_resnet("resnet50-mix30", 0.8, 0.1, "", "42.2%", "74.94%", "75.50%",
        (2_426_593_186, 15_961_302), (2_650_508_731, 17_035_311), (2_063_374_894, 13_034_105)),
    *_resnet("resnet20-mix40-text", 0.9, 0.3, "", "", "", "",
        (20_683_072, 131_760), (26_192_512, 166_942), (16_939_974, 103_538),
        source=_TEXT),
    *_resnet("resnet32-mix40-text", 0.9, 0.3, "", "", "", "",
        (35_577_280, 228_692), (44_329_600, 286_902), (28_591_302, 177_610),
        source=_TEXT),
    *_resnet("resnet56-mix40-text", 0.9, 0.3, "", "", "", "",
        (65_365_696, 422_556), (80_603_776, 526_822), (51_893_958, 325_754),
        source=_TEXT),
    *_resnet("resnet110-mix40-text", 0.9, 0.3, "", "", "", "",
        (132_389_632, 858_750), (162_220_672, 1_066_642), (104_324_934, 659_078),
        source=_TEXT),
    *_resnet("resnet18-40", 1, 0.4, "", "", "", "",
        (854_885_408, 5_796_128), (1_149_793_280, 7_312_112), (690_479_664, 4_359_942),
        source=_README),
    *_resnet("resnet34-40", 1, 0.4, "", "", "", "",
        (1_747_913_936, 10_666_959), (2_264_302_592, 13_394_858), (1_362_027_408, 8_020_336),
        source=_README),
    *_resnet("resnet101-40", 1, 0.4, "", "", "", "",
        (3_498_232_692, 21_320_055), (3_975_167_136, 23_637_327), (2_855_843_903, 16_623_666),
        source=_README),
    *_resnet("resnet152-40", 1, 0.4, "", "", "", "",
        (5_050_565_628, 27_869_803), (5_737_248_688, 31_080_991), (4_198_428_223, 22_291_764),
        source=_README),
    *_resnet("resnet34-mix40", 0.7, 0.1, "", "", "", "",
        (1_761_203_912, 10_705_969), (2_276_269_568, 13_430_014), (1_376_590_404, 8_066_526),
        source=_SCRIPTS),
    *_resnet("resnet50-mix40", 0.7, 0.1, "", "", "", "",
        (1_959_178_952, 13_404_928), (2_226_952_584, 14_639_749), (1_526_213_390, 9_779_076),
        source=_SCRIPTS),
    *_resnet("resnet50-mix50", 0.6, 0.1, "", "", "", "",
        (1_552_879_086, 11_152_510), (1_845_714_307, 12_444_280), (1_074_976_277, 6_973_793),
        source=_SCRIPTS),
    *_resnet("resnet101-mix30", 0.8, 0.1, "", "", "", "",
        (4_442_986_306, 26_285_674), (4_850_428_411, 28_306_447), (3_896_241_454, 22_422_117),
        source=_SCRIPTS),
    *_resnet("resnet101-mix40", 0.7, 0.1, "", "", "", "",
        (3_526_118_592, 21_430_968), (4_005_124_364, 23_757_410), (2_881_920_890, 16_727_401),
        source=_SCRIPTS),
)
# fmt: on

RECIPES = [
    *_RESNETS,
    Recipe(
        name="fpgm/vgg16-20",
        arch="vgg16",
        dataset="cifar10",
        source="FPGM, table 4",
        published=Published(flops_drop="35.9%", top1="93.23%"),
        counted_as="fpgm",
        variants=(
            Variant(
                name="exact",
                specification={"rate_norm": 1.0, "rate_dist": 0.2, "skip": ("linear1",)},
                macs=202_602_000,
                params=9_660_216,
            ),
        ),
        options={**_SOFT, "scratch": True},
        base=_VGG,
        pruning=_VGG,
        explanation="The percentage is that of real-valued widths; with the code's whole ones it is 35.4%.",
    ),
    _pfec(
        "fpgm/vgg16-pfec",
        "94.00%",
        replace(_VGG, lr=0.001, milestones=(80,), gamma=1.0),  # a rate that never falls
        "The authors' script also trains for 40 epochs only, with its rate falling after 20.",
    ),
    _pfec("fpgm/vgg16-pfec-scratch", "93.54%", _VGG),
]
