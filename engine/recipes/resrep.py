"""ResRep's rows: Ding et al., ICCV 2021, arXiv 2007.03260; README and programs of DingXiaoH/ResRep.

The training itself finds the widths; those of ResNet-50 stand in the authors' log, those of ResNet-56 are not
released. Only convolutions inside blocks are pruned.
"""

from .recipe import Published, Recipe, Training, Variant

_PENALTY = {"method": "resrep", "lasso": 1e-4, "mask_after": 5, "mask_interval": 200, "granularity": 4}

# In the order of the arch: the stem, then per stage the projection and the convolutions of each block.
_RESNET50_WIDTHS = (
    *(64,),
    *(256, 22, 22, 256, 23, 36, 256, 1, 1, 256),
    *(512, 62, 97, 512, 16, 49, 512, 38, 68, 512, 41, 92, 512),
    *(1024, 189, 204, 1024, 69, 145, 1024, 65, 139, 1024, 64, 94, 1024, 67, 89, 1024, 86, 95, 1024),
    *(2048, 473, 488, 2048, 171, 281, 2048, 511, 512, 2048),
)

RECIPES = [
    Recipe(
        name="resrep/resnet50",
        arch="resnet50",
        dataset="imagenet",
        source="README and log of DingXiaoH/ResRep",
        published=Published(flops_drop="54.5%", top1="76.15%"),
        counted_as="resrep",
        variants=(
            Variant(
                name="exact",
                specification={"deps": _RESNET50_WIDTHS},
                macs=1_858_866_887,
                params=16_557_403,
            ),
        ),
        options={**_PENALTY, "flops": "0.455"},
        pruning=Training(epochs=180, lr=0.01, batch_size=256, weight_decay=1e-4),
        explanation=(
            "The log says 43.89% of the FLOPs stay, the README 45.5%: the same widths, with the stride of a "
            "stage on its first 1x1 or on its 3x3 convolution. The counter adds up in single precision, "
            "57 more than the exact sum."
        ),
    ),
    Recipe(
        name="resrep/resnet56",
        arch="src56",
        dataset="cifar10",
        source="README of DingXiaoH/ResRep",
        published=Published(flops_drop="52.9%", top1="93.7 ~ 93.8%"),
        counted_as="resrep-cifar",
        variants=(Variant(name="exact", specification={"flops": 0.471}),),
        options={**_PENALTY, "flops": "0.471"},
        base=Training(
            epochs=240,
            lr=0.1,
            lr_schedule="multistep",
            milestones=(120, 180),
            gamma=0.1,
            batch_size=64,
            momentum=0.9,
            weight_decay=1e-4,
            nesterov=False,
            decay_rule="resrep",
        ),
        pruning=Training(epochs=480, lr=0.01, batch_size=64, weight_decay=1e-4),
        explanation=(
            "Only the target is known, 47.1% of what the authors count: the pruned widths are not released. "
            "Their count takes the two 1x1 projections for 2x2, 126.53M in all and not 125.75M."
        ),
    ),
]
