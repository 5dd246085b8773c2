"""Networks as training leaves them, and a small one in a module of its own, as a user would bring it."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prune.engine.allocations.budget import Budget
from prune.engine.compactors.sites import Site
from prune.engine.jobs.job import Job, Pruning
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.sources import Images
from prune.engine.schedules.gradient_resetting import GradientResetting
from prune.engine.training.config import TrainConfig
from prune.engine.transfers.fold import Fold

MODULE = """
    from torch import nn

    def net(num_classes):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, num_classes),
        )
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the network, made for `digits`, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resrep_user.py").write_text(textwrap.dedent(MODULE))
    network = new_network("resrep_user:net", num_classes=10, input_size=(3, 16, 16))
    save_network(tmp_path / "base.hdf5", network)
    return tmp_path / "base.hdf5"


@pytest.fixture
def make_job(base: Path) -> Callable[..., Job]:
    """A short job, but for the settings given by name."""
    config = TrainConfig(
        epochs=3,
        lr=0.02,
        batch_size=32,
        weight_decay=1e-4,
        decay_rule="resrep",
        precision="fp32",
        channels_last=False,
        device="cpu",
    )
    schedule = GradientResetting(lasso=2e-3, mask_after=1, mask_interval=10, granularity=2)

    def make(*, flops: float = 0.4, skip: tuple[str, ...] = (), **settings: Any) -> Job:
        masks = {name: settings.pop(name) for name in list(settings) if hasattr(schedule, name)}
        return Job(
            command="prune",
            start=base,
            config=replace(config, **settings),
            pruning=Pruning(
                allocation=Budget(flops=flops, skip=skip),
                schedule=replace(schedule, **masks),
                transfer=Fold(),
            ),
            images=Images("digits"),
            arch="resrep_user:net",
        )

    return make


@pytest.fixture
def wear() -> Callable[[Sequence[Site]], int]:
    """Moves all rows of compactors, and kills 40 % of the channels that may leave: rows zero, masks too."""

    def wear(sites: Sequence[Site]) -> int:
        draw = np.random.default_rng(4)
        killed = 0
        for site in sites:
            weight_DD11, mask_D = site.compactor.pwc.weight.data, site.compactor.mask
            weight_DD11 += 0.05 * torch.from_numpy(draw.standard_normal(weight_DD11.shape)).float()
            free = site.group.channels[site.group.free]
            dead = draw.choice(free, int(0.4 * len(free)), replace=False)
            rows = torch.from_numpy(np.flatnonzero(np.isin(site.row_ids, dead)))
            weight_DD11[rows], mask_D[rows] = 0, 0
            killed += len(dead)
        return killed

    return wear
