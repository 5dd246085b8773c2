"""Compensation never fails and never harms: what it does not understand stays as it was cut."""

import mini_branches
import pytest
from mending import SIZE, images, mend, mini_networks
from prune.engine.compensation.block_fitting import fit_blocks
from prune.engine.events import unwatched
from soaked import often

BRANCHES = [name for name, made in mini_networks.NAMED.items() if made.__module__ == mini_branches.__name__]


CASES = [*((name, "coupled") for name in mini_networks.NAMED), *((name, "scatter") for name in BRANCHES)]
# One for each kind of layer, of norm, of branch, of use of a weight and of operation beside them.
KINDS = frozenset(
    """
    Plain BiasWithoutBN InPlaceAdd InPlaceOnSlice FeatureBuffers NoAffineNorm EqualChunk HardCodedView
    Flatten7x7 ConcatZeros DenseConcat ChannelShuffle WidthScaled AddOfConcats ResidualConcat LayerScale
    UNet AuxiliaryHead SqueezeExcite TwoGates SplitAttention ReusedModule SharedWeights OneConvTwoNorms
    TiedClassifier FunctionalConv ComputedWeight Grouped GroupedTransposed DepthwiseMultiplier Transposed
    Volumes NormOfAll Attention Recurrent GroupNorms LayerNorms InstanceNorms GlobalResponse SubPixel Maxout
    Windows Deformed Spectrum LookedUp Dilated
    """.split()  # noqa: SIM905, a list of 46 lines
)
SCATTERED = ("TwoGates", "UNet")
OTHERS = [(name, how) for name, how in CASES if name not in (KINDS if how == "coupled" else SCATTERED)]
# Operations without a derivative, blocks without parameters, channels along two axes; and some sound ones.
FITTED = ("CopiedInto", "FeatureBuffers", "ChannelShuffle", "SplitAttention", "Plain", "TwoGates")


@pytest.mark.parametrize(("name", "residual"), often(CASES, but=OTHERS))
def test_every_adversary_goes_through(name: str, residual: str):
    mended = mend(mini_networks.build(name), SIZE, images(128, SIZE), residual=residual)
    sliced, better = mended.errors(images(64, SIZE, seed=1))
    assert better <= sliced * 1.02 + 1e-9
    assert all(layer.after <= layer.before * (1 + 1e-6) + 1e-9 for layer in mended.report.layers)


@pytest.mark.parametrize(
    ("name", "residual"), often(CASES, but=[case for case in CASES if case[0] not in FITTED])
)
def test_blocks_of_every_adversary_come_closer_or_stay(name: str, residual: str):
    mended = mend(mini_networks.build(name), SIZE, images(128, SIZE), residual=residual)
    cut, seen = mended.cut, [images(128, SIZE)]
    fitted = unwatched(fit_blocks(mended.dense, mended.thin, cut.map, cut.removed, seen, steps=5))
    assert all(block.after <= block.before for block in fitted)
