"""HRankPlus' rows, as far as their rates are known; README and evaluate_cifar.py of lmbxmu/HRankPlus.

Scores are HRank's, all layers are pruned at once, and one training follows. The README does not print the
rates that were used: those here are the ones that give its numbers. Its residual networks narrow their
streams in a way of their own, and are left out.
"""

from .recipe import Published, Recipe, Training, Variant

_TRAINING = Training(
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


def _vgg16(keep_rate: str, published: Published, *, macs: int, params: int) -> Recipe:
    """VGG-16, whose 13th convolution is never pruned."""
    return Recipe(
        name=f"hrankplus/vgg16-{published.flops_drop.rstrip('%')}",
        arch="vgg16_bn",
        dataset="cifar10",
        source="README of lmbxmu/HRankPlus",
        published=published,
        counted_as="thop-2020",
        drop_from="plain",
        rates=13,
        variants=(Variant(name="exact", specification={"keep_rate": keep_rate}, macs=macs, params=params),),
        options={"criterion": "hrank", "limit": 5},
        finetuning=_TRAINING,
    )


RECIPES = [
    _vgg16(
        "[0.79]*7+[0.25]*5+[1.0]",
        Published(flops="131.17M", flops_drop="58.1%", params="2.76M", params_drop="81.6%", top1="93.73%"),
        macs=130_566_528,
        params=2_766_541,
    ),
    _vgg16(
        "[0.7]*7+[0.25]*5+[1.0]",
        Published(flops="104.78M", flops_drop="66.6%", params="2.50M", params_drop="83.3%", top1="93.56%"),
        macs=104_242_752,
        params=2_505_793,
    ),
    _vgg16(
        "[0.55]*7+[0.22]*5+[1.0]",
        Published(flops="66.95M", flops_drop="78.6%", params="1.90M", params_drop="87.3%", top1="93.10%"),
        macs=66_521_088,
        params=1_901_836,
    ),
]
