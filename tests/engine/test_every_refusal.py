"""The refusals of the engine that no other test reaches, each by what it refuses."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from prune.archs.errors import ArchError
from prune.engine import recipes
from prune.engine.allocations.budget import Budget
from prune.engine.compensation.program import _exported
from prune.engine.criteria.hrank import _rank_sums
from prune.engine.errors import (
    AllocationError,
    CriterionError,
    EngineError,
    RecipeError,
    TraceError,
    TrainingError,
)
from prune.engine.jobs.stored import restored
from prune.engine.modules.inputs import Inputs
from prune.engine.network.fresh import new_network
from prune.engine.processes import distributed
from prune.engine.runs import lock
from prune.engine.runs.runs import Run, check_runs
from prune.engine.schedules.gradient_resetting import GradientResetting
from prune.engine.scores import rank_folder
from prune.engine.scores.scoring import Scoring
from prune.engine.sketching.rates import SketchRates
from prune.engine.transfers.compensate import Compensate
from torch import Tensor, nn


def broken(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", "device 'cuda:1' is one GPU, and each process needs its own"),
        ("cuda", "process 2 of this machine needs a GPU of its own, and there are 1"),
    ],
)
def test_processes_that_have_no_gpu_of_their_own(monkeypatch, device, message):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(EngineError, match=message):
        distributed._own_gpu(device)


def test_two_recipes_of_one_name(monkeypatch):
    monkeypatch.setattr(recipes, "PAPERS", ("hrank", "hrank"))
    monkeypatch.setattr("importlib.import_module", lambda *_: SimpleNamespace(RECIPES=[recipe()]))
    with pytest.raises(RecipeError, match="two recipes are called 'hrank/x'"):
        recipes._known.__wrapped__()


def recipe() -> SimpleNamespace:
    return SimpleNamespace(name="hrank/x")


def test_folders_where_no_run_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "hold", broken)
    with pytest.raises(TrainingError, match="cannot be written: Input/output error"):
        Run(tmp_path, {}).lock()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(TrainingError, match="no run folder can be made in"):
        check_runs(tmp_path / "runs")


def test_ranks_that_cannot_be_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("numpy.load", broken)
    (tmp_path / "rank_conv1.npy").touch()
    with pytest.raises(CriterionError, match=r"rank_conv1\.npy' cannot be read: Input/output error"):
        rank_folder._read(tmp_path / "rank_conv1.npy")


def test_maps_that_are_no_maps():
    with pytest.raises(CriterionError, match=r"the feature maps of 'conv' have shape \(2, 3\), not"):
        _rank_sums("conv", torch.zeros(2, 3), SimpleNamespace(positions=[0]))


def test_residual_modes_that_methods_do_not_know():
    with pytest.raises(AllocationError, match="`residual` coupled has no effect with `method` sketch"):
        SketchRates(keep_rate="[0.5]*3", residual="coupled")
    with pytest.raises(AllocationError, match="`method` resrep knows no `residual` scatter"):
        GradientResetting().check(Budget(flops=0.5, residual="scatter"), Scoring(), None, trained=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "compensation on 0 images; it must be at least 1"),
        ({"fit_blocks": -1}, "`fit_blocks` is -1; it must be at least 0"),
    ],
)
def test_compensation_on_nothing(settings, message):
    with pytest.raises(TrainingError, match=message):
        Compensate(**settings)


def test_settings_that_are_none():
    with pytest.raises(TypeError, match="3 are no settings"):
        restored(Compensate, 3)


def test_an_arch_that_says_no_number_of_classes(tmp_path, monkeypatch):
    (tmp_path / "unsaid.py").write_text("from torch import nn\nbuild = lambda num_classes: nn.Flatten()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArchError, match="does not say its number of classes; give `num_classes`"):
        new_network("unsaid:build")


def test_a_program_that_cannot_be_followed():
    class Refusing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images_NCHW: Tensor) -> Tensor:
            raise ValueError("never\nat all")

    with pytest.raises(TraceError, match=r"cannot be followed on 2 images of 3x4x4: .*never"):
        _exported(Refusing(), Inputs.of_images((3, 4, 4)))
