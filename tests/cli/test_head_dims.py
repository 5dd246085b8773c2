"""Tables call heads and head dimensions by their names; `--head-dims` is heard wherever it is allowed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prune.cli.main import main
from prune.weights import store
from prune.weights.store import WeightFile

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 24, 4, 4), nn.LayerNorm(24)
        self.fc = nn.Linear(24, num_classes)
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        y = self.norm(x)
        return self.fc((x + self.attention(y, y, y, need_weights=False)[0]).mean(1))
"""
ARCH = ["--arch", "attentive:Net", "--num-classes", "5", "--image-size", "8"]
PRUNE = ["prune", *ARCH, "--criterion", "l1", "--rate", "0.5", "--out", "thin.hdf5"]
HEADS = "attention.in_proj_weight"


@pytest.fixture(autouse=True)
def here(own_module: Callable[[str, str], Path]) -> Path:
    return own_module("attentive", NETWORK)


def row(shown: str, name: str) -> str:
    return " ".join(next(line for line in shown.splitlines() if line.startswith(name)).split())


@pytest.mark.parametrize(
    ("words", "of", "left"), [([], "4 heads", 2), (["--head-dims"], "6 head dimensions", 3)]
)
def test_tables_say_what_leaves(words, of, left, capsys):
    assert main(["inspect", "--channels", *ARCH, *words]) == 0
    assert row(capsys.readouterr().out, HEADS) == f"{HEADS} {of} {of[0]}"
    assert main([*PRUNE, *words, "--dry-run"]) == 0
    assert row(capsys.readouterr().out, HEADS) == f"{HEADS} {of} {left} 50.0%"
    assert main([*PRUNE, *words]) == 0
    assert row(capsys.readouterr().out, HEADS) == f"{HEADS} {of} {left} 50.0%"


def test_a_plan_of_head_dimensions_is_applied_with_them_alone(capsys):
    assert main([*PRUNE, "--head-dims", "--plan-out", "plan.json"]) == 0
    assert json.loads(Path("plan.json").read_text())["head_dims"] is True
    planned = ["prune", *ARCH, "--plan", "plan.json", "--out", "again.hdf5"]
    assert main(planned) == 2
    assert "the plan is of head dimensions, and the network of whole heads; give --head-dims" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert main([*planned, "--head-dims"]) == 0


def test_it_has_no_effect_elsewhere_and_says_so(capsys, tmp_path):
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    assert main(["inspect", str(tmp_path / "x.hdf5"), "--head-dims"]) == 2
    assert "--head-dims has no effect without --channels" in capsys.readouterr().err
    assert main([*PRUNE[:-2], "--out", "run", "--schedule", "soft", "--head-dims"]) == 2
    assert "--head-dims" in capsys.readouterr().err
