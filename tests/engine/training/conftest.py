"""A tiny data set and network, and a training of the one on the other."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prune.engine.data.base import DataInfo
from prune.engine.data.memory import MemoryData
from prune.engine.events import Accuracy, Event
from prune.engine.runs.runs import Run
from prune.engine.training.config import TrainConfig
from prune.engine.training.loop import train
from torch import nn

BATCH = 32


class Blobs(MemoryData):
    """Noisy copies of one pattern per class; augmenting them moves the pattern by a pixel."""

    def __init__(
        self, classes: int = 10, train_images: int = 200, test_images: int = 70, size: int = 8
    ) -> None:
        rng = np.random.default_rng(7)
        pattern_KCHW = rng.normal(size=(classes, 3, size, size))
        images, labels = {}, {}
        for split, count in (("train", train_images), ("test", test_images)):
            labels[split] = torch.arange(count) % classes
            noisy_NCHW = pattern_KCHW[labels[split]] + 2 * rng.normal(size=(count, 3, size, size))
            images[split] = torch.tensor(np.clip(128 + 30 * noisy_NCHW, 0, 255), dtype=torch.uint8)
        names = tuple(f"class {label}" for label in range(classes))
        info = DataInfo("blobs", classes, names, (3, size, size), mean=(0.5,) * 3, std=(0.25,) * 3)
        super().__init__(info, images, labels, crop_padding=1, flip=False)


def tiny_net(classes: int = 10, seed: int = 0) -> nn.Module:
    """Batch norm for its buffers, dropout for its use of random numbers."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(8, 16, 3, padding=1, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 4 * 4, classes),
        )


def save_network(path: Path, model: nn.Module, accuracy: Accuracy) -> None:
    torch.save({"model": model.state_dict(), "top1": accuracy.top1}, path)


def blob_training(
    folder: Path,
    model: nn.Module,
    *,
    data: Any = None,
    resume: bool = False,
    teacher: nn.Module | None = None,
    hooks: Any = None,
    **settings: Any,
) -> Iterator[Event]:
    """Four epochs, unless told otherwise, in the one precision that repeats bit by bit."""
    choices = {"epochs": 4, "lr": 0.03, "batch_size": BATCH, "precision": "fp32", "channels_last": False}
    config = TrainConfig(**{**choices, "device": "cpu", **settings})
    run = Run.open(folder) if resume else Run.create(folder, {"command": "train-base"})
    return train(
        model, data or Blobs(), config, run, save_network, teacher=teacher, hooks=hooks, resume=resume
    )


@pytest.fixture(scope="session")
def blobs() -> Callable[..., Blobs]:
    return Blobs


@pytest.fixture(scope="session")
def net() -> Callable[..., nn.Module]:
    return tiny_net


@pytest.fixture(scope="session")
def training() -> Callable[..., Iterator[Event]]:
    return blob_training
