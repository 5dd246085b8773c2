"""Which checkpoints their authors published or could write: how wide they are, and what they compute."""

import authors_cifar as cifar
import authors_imagenet as imagenet

CENTRED = lambda into, out: (out - into) // 2  # noqa: E731
BEHIND = lambda into, out: 0  # noqa: E731
HRANK56 = cifar.CifarResNet(cifar.CifarResNet.HRANK, 9, CENTRED)
HRANK20 = cifar.CifarResNet(cifar.CifarResNet.HRANK, 3, CENTRED)
HRANK110 = cifar.CifarResNet(cifar.CifarResNet.HRANK110, 18, CENTRED)
FPGM20 = cifar.CifarResNet(cifar.CifarResNet.FPGM, 3, BEHIND)


def kept(rates, widths):
    return [int(width * (1 - rate)) for rate, width in zip(rates, widths, strict=True)]


def vgg(rates):
    return kept(rates, [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6)


def inceptions(outputs=1.0, reductions=1.0, first5x5=1.0, last_whole=False):
    """The widths of every module, of those that HRankPlus (outputs) or FilterSketch (the others) narrow."""
    modules = {}
    for name, (n1x1, reduce3x3, n3x3, reduce5x5, n5x5, pool) in cifar.INCEPTIONS.items():
        out = 1.0 if last_whole and name == "b5" else outputs
        reduced = (int(reduce3x3 * reductions), int(reduce5x5 * reductions))
        first = int(n5x5 * min(first5x5, outputs))
        modules[name] = (n1x1, reduced[0], int(n3x3 * out), reduced[1], first, int(n5x5 * out), pool)
    return modules


CASES = {
    "HRank resnet_56": ("resnet56", lambda: HRANK56.state(16, (16, 32, 64), (16, 32, 64)), HRANK56.logits),
    # [0.]+[0.18]*29, HRankPlus' own example of 56 layers: from 16 channels into a stream of 13
    "HRankPlus resnet_20": (
        "resnet20",
        lambda: HRANK20.state(16, (13, 26, 64), (13, 26, 52)),
        HRANK20.logits,
    ),
    "HRankPlus resnet_20, narrow stem": (
        "resnet20",
        lambda: HRANK20.state(11, (16, 9, 64), (8, 8, 8)),
        HRANK20.logits,
    ),
    "HRankPlus resnet_110": (
        "resnet110",
        lambda: HRANK110.state(16, (12, 25, 64), (11, 20, 41)),
        HRANK110.logits,
    ),
    "FilterSketch resnet20": (
        "resnet20",
        lambda: HRANK20.state(16, (16, 32, 64), (9, 19, 38)),
        HRANK20.logits,
    ),
    "FPGM resnet20": ("resnet20", lambda: FPGM20.state(16, (16, 32, 64), (16, 32, 64)), FPGM20.logits),
    "HRank vgg_16_bn": ("vgg16_bn", lambda: cifar.hrank_vgg(vgg([0.0] * 13)), cifar.hrank_vgg_logits),
    "HRankPlus vgg_16_bn": (
        "vgg16_bn",
        lambda: cifar.hrank_vgg(vgg([0.45] * 7 + [0.78] * 5 + [0.0])),
        cifar.hrank_vgg_logits,
    ),
    "FPGM vgg16": ("vgg16", lambda: cifar.fpgm_vgg(vgg([0.0] * 13)), cifar.fpgm_vgg_logits),
    "PFEC vgg16": (
        "vgg16",
        lambda: cifar.fpgm_vgg([32, 64, 128, 128] + [256] * 9),
        cifar.fpgm_vgg_logits,
    ),
    "HRank densenet_40": (
        "densenet40",
        lambda: cifar.densenet(24, [12, 12, 12], [168, 312]),
        cifar.densenet_logits,
    ),
    "HRankPlus densenet_40": (
        "densenet40",
        lambda: cifar.densenet(24, [7, 6, 4], [86, 110]),
        cifar.densenet_logits,
    ),
    "HRank googlenet": ("googlenet", lambda: cifar.googlenet(192, inceptions()), cifar.googlenet_logits),
    "HRankPlus googlenet": (
        "googlenet",
        lambda: cifar.googlenet(192, inceptions(outputs=0.3, last_whole=True)),
        cifar.googlenet_logits,
    ),
    "FilterSketch googlenet": (
        "googlenet",
        lambda: cifar.googlenet(192, inceptions(reductions=0.25, first5x5=0.25)),
        cifar.googlenet_logits,
    ),
    "HRankPlus resnet_50": (
        "resnet50",
        lambda: imagenet.bottleneck_resnet(57, [204, 409, 819, 2048], [32, 64, 128, 256]),
        imagenet.bottleneck_resnet_logits,
    ),
    "HRankPlus mobilenet_v1": (
        "mobilenet_v1",
        lambda: imagenet.mobilenet([int(out * 0.7) for out, _ in imagenet.MOBILE[:-1]] + [1024]),
        imagenet.mobilenet_logits,
    ),
    # [0.]+[0.3]*7, HRankPlus' own example
    "HRankPlus mobilenet_v2": (
        "mobilenet_v2",
        lambda: imagenet.mobilenet_v2([11, 16, 22, 44, 67, 112, 224]),
        imagenet.mobilenet_v2_logits,
    ),
}

# In `make soak` alone: whole networks, as `MASKED` has them, and what differs from others by widths or depth.
LONG = ("HRankPlus resnet_110", "HRank vgg_16_bn", "FPGM vgg16", "HRank densenet_40", "HRank googlenet")
LONG += ("FilterSketch googlenet",)
