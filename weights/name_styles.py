"""The name styles there are: what the tensors of a family of networks are called by others, and by us."""

from dataclasses import dataclass

# What a placeholder of a template may stand for.
PLACEHOLDERS = {
    "stage": r"[1-9]\d*",
    "block": r"0|[1-9]\d*",
    "conv": r"[1-9]\d*",
    "inception": r"[a-e][345]",
    "param": r"weight|bias",
    "entry": r"weight|bias|running_mean|running_var|num_batches_tracked",
}


@dataclass(frozen=True)
class NameStyle:
    """How others name a family of networks, paired with how we do.

    Attributes:
        name: how users call the style.
        pairs: their and our tensor names, as templates with placeholders; a name fits at most one template.
        landmarks: their names that every network of the family has, and others lack.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    landmarks: tuple[str, ...]

    @property
    def theirs(self) -> tuple[str, ...]:
        """Their templates, in the order of the pairs."""
        return tuple(theirs for theirs, _ in self.pairs)

    @property
    def ours(self) -> tuple[str, ...]:
        """Our templates, in the order of the pairs."""
        return tuple(ours for _, ours in self.pairs)


def _unit(conv: str, bn: str, ours: str) -> tuple[tuple[str, str], ...]:
    """The pairs of a convolution and its BN, which in our names are one unit."""
    return ((f"{conv}.{{param}}", f"{ours}.conv.{{param}}"), (f"{bn}.{{entry}}", f"{ours}.bn.{{entry}}"))


def _in_block(conv: str, bn: str, ours: str) -> tuple[tuple[str, str], ...]:
    """The pairs of a unit of a residual block."""
    return _unit(conv, bn, f"stage{{stage}}.block{{block}}.{ours}")


_BLOCKS = _in_block("layer{stage}.{block}.conv{conv}", "layer{stage}.{block}.bn{conv}", "conv{conv}")
_VGG_WIDTHS = (2, 2, 3, 3, 3)  # convolutions between pools
_VGG_STAGES = [stage for stage, convs in enumerate(_VGG_WIDTHS) for _ in range(convs)]  # of each convolution

_STYLES = (
    # github.com/akamaster/pytorch_resnet_cifar10, ResRep's CIFAR ResNets (only option B has projections) and
    # HRank's ResNet-110.
    NameStyle(
        "akamaster",
        (
            *_unit("conv1", "bn1", "stage1.conv1"),
            *_BLOCKS,
            *_unit("layer{stage}.0.shortcut.0", "layer{stage}.0.shortcut.1", "stage{stage}.projection"),
            ("linear.{param}", "linear.{param}"),
        ),
        landmarks=("conv1.weight", "linear.weight"),
    ),
    # The ResNet-56 of HRank and HRankPlus, and FilterSketch's CIFAR ResNets.
    NameStyle(
        "hrank-resnet",
        (*_unit("conv1", "bn1", "stage1.conv1"), *_BLOCKS, ("fc.{param}", "linear.{param}")),
        landmarks=("conv1.weight", "layer3.0.conv1.weight", "fc.weight"),
    ),
    # FPGM's CIFAR ResNets.
    NameStyle(
        "fpgm-resnet",
        (
            *_unit("conv_1_3x3", "bn_1", "stage1.conv1"),
            *_in_block("stage_{stage}.{block}.conv_a", "stage_{stage}.{block}.bn_a", "conv1"),
            *_in_block("stage_{stage}.{block}.conv_b", "stage_{stage}.{block}.bn_b", "conv2"),
            ("classifier.{param}", "linear.{param}"),
        ),
        landmarks=("conv_1_3x3.weight", "classifier.weight"),
    ),
    # torchvision's ResNet-18 to -152 (ResNeXt and wide ones too), ResRep's, and those that HRank, HRankPlus,
    # FilterSketch and FPGM prune on ImageNet.
    NameStyle(
        "torchvision",
        (
            *_unit("conv1", "bn1", "conv1"),
            *_BLOCKS,
            *_unit("layer{stage}.0.downsample.0", "layer{stage}.0.downsample.1", "stage{stage}.projection"),
            ("fc.{param}", "fc.{param}"),
        ),
        landmarks=("conv1.weight", "layer4.0.conv1.weight", "fc.weight"),
    ),
    # VGG-16 of HRank and HRankPlus: layers count pools too.
    NameStyle(
        "hrank-vgg",
        (
            *(
                pair
                for conv, stage in enumerate(_VGG_STAGES)
                for pair in _unit(
                    f"features.conv{conv + stage}", f"features.norm{conv + stage}", f"stem.conv{conv + 1}"
                )
            ),
            ("classifier.linear1.{param}", "linear1.{param}"),
            ("classifier.norm1.{entry}", "bn1.{entry}"),
            ("classifier.linear2.{param}", "linear2.{param}"),
        ),
        landmarks=("features.conv0.weight", "classifier.linear2.weight"),
    ),
    # FPGM's VGG-16, PFEC's form: modules count BN, ReLU and pools too.
    NameStyle(
        "fpgm-vgg",
        (
            *(
                pair
                for conv, stage in enumerate(_VGG_STAGES)
                for pair in _unit(
                    f"feature.{3 * conv + stage}", f"feature.{3 * conv + stage + 1}", f"stem.conv{conv + 1}"
                )
            ),
            ("classifier.0.{param}", "linear1.{param}"),
            ("classifier.1.{entry}", "bn1.{entry}"),
            ("classifier.3.{param}", "linear2.{param}"),
        ),
        landmarks=("feature.0.weight", "classifier.3.weight"),
    ),
    # DenseNet-40 of HRank and HRankPlus.
    NameStyle(
        "hrank-densenet",
        (
            ("conv1.{param}", "conv1.{param}"),
            ("dense{stage}.{block}.bn1.{entry}", "dense{stage}.layer{block}.bn.{entry}"),
            ("dense{stage}.{block}.conv1.{param}", "dense{stage}.layer{block}.conv.{param}"),
            ("trans{stage}.bn1.{entry}", "transition{stage}.bn.{entry}"),
            ("trans{stage}.conv1.{param}", "transition{stage}.conv.{param}"),
            ("bn.{entry}", "bn.{entry}"),
            ("fc.{param}", "linear.{param}"),
        ),
        landmarks=("conv1.weight", "dense1.0.conv1.weight", "fc.weight"),
    ),
    # GoogLeNet of HRank, HRankPlus and FilterSketch: branches count BN and ReLU too.
    NameStyle(
        "hrank-googlenet",
        (
            *_unit("pre_layers.0", "pre_layers.1", "stem"),
            *(
                pair
                for branch, first, convs in (("1x1", 0, 1), ("3x3", 0, 2), ("5x5", 0, 3), ("_pool", 1, 1))
                for conv in range(convs)
                for pair in _unit(
                    f"inception_{{inception}}.branch{branch}.{first + 3 * conv}",
                    f"inception_{{inception}}.branch{branch}.{first + 3 * conv + 1}",
                    f"inception_{{inception}}.branch{branch}.conv{conv + 1}",
                )
            ),
            ("linear.{param}", "linear.{param}"),
        ),
        landmarks=("pre_layers.0.weight", "inception_a3.branch1x1.0.weight", "linear.weight"),
    ),
    # HRankPlus' MobileNetV1.
    NameStyle(
        "hrank-mobilenet",
        (
            *_unit("conv1.0", "conv1.1", "conv1"),
            *_unit("features.{block}.0", "features.{block}.1", "stem.{block}.depthwise"),
            *_unit("features.{block}.3", "features.{block}.4", "stem.{block}.pointwise"),
            ("classifier.0.{param}", "linear.{param}"),
        ),
        landmarks=("conv1.0.weight", "features.0.3.weight", "classifier.0.weight"),
    ),
    # HRankPlus' MobileNetV2: only the first block has no expansion.
    NameStyle(
        "hrank-mobilenet-v2",
        (
            *_unit("features.0.0", "features.0.1", "conv1"),
            *_unit("features.1.conv.0", "features.1.conv.1", "stem.0.depthwise"),
            *_unit("features.1.conv.3", "features.1.conv.4", "stem.0.pointwise"),
            *(
                pair
                for block in range(1, 17)
                for place, unit in enumerate(("expansion", "depthwise", "pointwise"))
                for pair in _unit(
                    f"features.{block + 1}.conv.{3 * place}",
                    f"features.{block + 1}.conv.{3 * place + 1}",
                    f"stem.{block}.{unit}",
                )
            ),
            *_unit("features.18.0", "features.18.1", "conv2"),
            ("classifier.1.{param}", "linear.{param}"),
        ),
        landmarks=("features.0.0.weight", "features.1.conv.3.weight", "classifier.1.weight"),
    ),
)
STYLES = {style.name: style for style in _STYLES}
