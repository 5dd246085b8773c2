"""Compensation never fails and never harms: what it does not understand stays as it was cut."""

import mini_branches
import pytest
from mending import SIZE, images, mend, mini_networks
from prune.engine.compensation.block_fitting import fit_blocks
from prune.engine.events import unwatched

BRANCHES = [name for name, made in mini_networks.NAMED.items() if made.__module__ == mini_branches.__name__]


CASES = [*((name, "coupled") for name in mini_networks.NAMED), *((name, "scatter") for name in BRANCHES)]
# Operations without a derivative, blocks without parameters, channels along two axes; and some sound ones.
FITTED = ("CopiedInto", "FeatureBuffers", "ChannelShuffle", "SplitAttention", "Plain", "TwoGates")


@pytest.mark.parametrize(("name", "residual"), CASES)
def test_every_adversary_goes_through(name: str, residual: str):
    mended = mend(mini_networks.build(name), SIZE, images(128, SIZE), residual=residual)
    sliced, better = mended.errors(images(64, SIZE, seed=1))
    assert better <= sliced * 1.02 + 1e-9
    assert all(layer.after <= layer.before * (1 + 1e-6) + 1e-9 for layer in mended.report.layers)


@pytest.mark.parametrize(
    ("name", "residual"),
    [case if case[0] in FITTED else pytest.param(*case, marks=pytest.mark.soak) for case in CASES],
)
def test_blocks_of_every_adversary_come_closer_or_stay(name: str, residual: str):
    mended = mend(mini_networks.build(name), SIZE, images(128, SIZE), residual=residual)
    cut, seen = mended.cut, [images(128, SIZE)]
    fitted = unwatched(fit_blocks(mended.dense, mended.thin, cut.map, cut.removed, seen, steps=5))
    assert all(block.after <= block.before for block in fitted)
