"""Compensation never fails and never harms: what it does not understand stays as it was cut."""

import mini_branches
import pytest
from mending import SIZE, images, mend, mini_networks

BRANCHES = [name for name, made in mini_networks.NAMED.items() if made.__module__ == mini_branches.__name__]


@pytest.mark.parametrize(
    ("name", "residual"),
    [*((name, "coupled") for name in mini_networks.NAMED), *((name, "scatter") for name in BRANCHES)],
)
def test_every_adversary_goes_through(name: str, residual: str):
    mended = mend(mini_networks.build(name), SIZE, images(128, SIZE), residual=residual)
    sliced, better = mended.errors(images(64, SIZE, seed=1))
    assert better <= sliced * 1.02 + 1e-9
    assert all(layer.after <= layer.before * (1 + 1e-6) + 1e-9 for layer in mended.report.layers)
