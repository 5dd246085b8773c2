"""More refusals of the engine that no other test reaches, each by what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prune.cli.options.machine import Machine
from prune.engine.allocations.budget import Budget
from prune.engine.conversion import _folded
from prune.engine.criteria import bn_scale, taylor
from prune.engine.errors import (
    AllocationError,
    CriterionError,
    DataError,
    EngineError,
    ProofError,
    TrainingError,
)
from prune.engine.graph.trace import trace
from prune.engine.narrowing.norms import NarrowedNorms
from prune.engine.network.fresh import new_network
from prune.engine.network.matching import matched
from prune.engine.selection import plan
from prune.engine.selection.selection import _layer_scores
from prune.engine.training.checkpoint import take_back
from torch import Tensor, nn


def test_a_budget_of_nothing():
    with pytest.raises(AllocationError, match="a budget needs a target: `flops`, `params`, or both"):
        Budget()


def test_a_plan_that_names_a_layer_twice(tmp_path: Path):
    (tmp_path / "plan.json").write_text('{"arch": "x", "arch": "x"}')
    with pytest.raises(AllocationError, match="the plan has 'arch' twice"):
        plan.read(tmp_path / "plan.json")


def test_scores_of_normalisations_that_are_not_there():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(CriterionError, match="right behind each convolution; none follows 0, 2; choose"):
        bn_scale.score(model, trace(model, (3, 8, 8)), 0)


def test_scores_of_weights_that_are_not_used_as_they_are_stored():
    class Computing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.doubled = nn.Conv2d(3, 4, 3), False

        def forward(self, images_NCHW: Tensor) -> Tensor:
            weight = self.conv.weight * 2 if self.doubled else self.conv.weight
            return nn.functional.conv2d(images_NCHW, weight).mean((2, 3))

    model = Computing()
    traced = trace(model, (3, 8, 8))
    model.doubled = True
    with pytest.raises(
        CriterionError, match="taylor needs layers that use their weight as stored; not so: conv"
    ):
        taylor.score_sums(model, traced, torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))


def test_networks_that_normalise_otherwise_than_their_graph():
    layer_norm = SimpleNamespace(op="layer_norm", value=SimpleNamespace(line=lambda _: np.arange(4)))
    norms = NarrowedNorms(SimpleNamespace(records=[layer_norm]), np.array([True, False, False, False]))
    with pytest.raises(ProofError, match=r"normalises otherwise than torch\.export saw: less often"):
        norms.check()
    call = "native_layer_norm", torch.ops.aten.native_layer_norm, (torch.ones(2, 4), [4], None, None, 1e-5)
    norms = NarrowedNorms(SimpleNamespace(records=[layer_norm]), np.array([True, False, False, False]))
    norms.call(*call)
    norms.check()
    with pytest.raises(ProofError, match=r"normalises otherwise than torch\.export saw: more often"):
        norms.call(*call)


def test_commands_of_one_process_are_not_run_in_several(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EngineError, match="this command runs in one process; start it without torchrun"):
        Machine().start()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, r"has format 9; this prune reads 1"),
        ({"arch": 3}, r"'arch' in plan '.*' is 3, not of type str"),
    ],
)
def test_plans_of_another_kind(tmp_path: Path, change: dict, message: str):
    content = {"format": plan.FORMAT, "arch": "x", "residual": "internal", "groups": {}}
    (tmp_path / "plan.json").write_text(json.dumps(content | change))
    with pytest.raises(AllocationError, match=message):
        plan.read(tmp_path / "plan.json")


def test_scores_of_another_shape():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    traced = trace(model, (3, 8, 8))
    with pytest.raises(AllocationError, match=r"'0' has 4 filters, and scores of shape \(3,\)"):
        _layer_scores(traced.map, "0", {"0": np.ones(3)})


def test_an_optimizer_whose_settings_are_of_another_kind(tmp_path: Path):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = optimizer.state_dict()
    state["param_groups"][0]["momentum"] = "much"
    checkpoint = SimpleNamespace(model=model.state_dict(), optimizer=state)
    with pytest.raises(TrainingError, match="the optimizer's momentum is much"):
        take_back(checkpoint, tmp_path / "c.pt", model, optimizer)


def test_images_of_other_classes_than_the_network():
    network = new_network("resnet20", num_classes=10)
    data = SimpleNamespace(info=SimpleNamespace(name="mine", num_classes=2, input_size=network.input_size))
    with pytest.raises(DataError, match=r"'mine' has 2 classes, '.*' tells 10 apart; choose the images it"):
        matched(network, data)


def test_a_network_in_which_nothing_can_be_folded():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(EngineError, match=r"'x\.hdf5' cannot be folded: there are neither compactors nor"):
        _folded(SimpleNamespace(model=model, input_size=(3, 8, 8)), Path("x.hdf5"))
