"""Networks of half precision: followed, cut and proven, and of the same type afterwards."""

import importlib
import sys
from pathlib import Path

import prune
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
mini_networks = importlib.import_module("mini_networks")
NAMES = ["GroupNorms", "Gates", "Generator", "Dilated"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, torch.bfloat16) for name in NAMES),
        (NAMES[0], torch.float16),
        *(pytest.param(name, torch.float16, marks=pytest.mark.soak) for name in NAMES[1:]),  # as bfloat16
    ],
)
def test_weights_keep_their_type(name, kind):
    net = prune.wrap(mini_networks.build(name).to(kind), mini_networks.SIZE)
    thin = prune.prune(net, prune.plan(net, rate=0.5, residual="coupled"))
    assert thin.after.macs < 0.6 * thin.before.macs
    assert thin.difference < 1e-12
    assert {p.dtype for p in thin.model.parameters()} == {kind}
    assert thin.model(torch.randn(2, *mini_networks.SIZE, dtype=kind)).dtype == kind
