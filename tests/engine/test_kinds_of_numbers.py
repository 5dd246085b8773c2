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


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_weights_keep_their_type(name, kind):
    net = prune.wrap(mini_networks.build(name).to(kind), mini_networks.SIZE)
    thin = prune.prune(net, prune.plan(net, rate=0.5, residual="coupled"))
    assert thin.after.macs < 0.6 * thin.before.macs
    assert thin.difference < 1e-12
    assert {p.dtype for p in thin.model.parameters()} == {kind}
    assert thin.model(torch.randn(2, *mini_networks.SIZE, dtype=kind)).dtype == kind
