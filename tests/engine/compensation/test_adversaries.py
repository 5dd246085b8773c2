"""Compensation never fails: what it does not understand stays as it was cut."""

import pytest
from mending import SIZE, images, mend, mini_networks


@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
@pytest.mark.parametrize("name", list(mini_networks.NAMED))
def test_every_adversary_goes_through(name: str, residual: str):
    mended = mend(mini_networks.build(name), SIZE, images(128, SIZE), residual=residual)
    sliced, better = mended.errors(images(64, SIZE, seed=1))
    print(
        f"{name} {residual} {sliced:.4f} {better:.4f}",
        *mended.report.layers,
        *mended.report.notes,
        sep="\n  ",
    )
    assert better <= sliced * 1.05 + 1e-9
