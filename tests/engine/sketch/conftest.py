"""What the authors' own code made of a ResNet-56, and that network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from prune.engine.network.network import Network, load_network
from torch import nn


@pytest.fixture(scope="session")
def recorded(shared_golden: Path) -> dict[str, np.ndarray]:
    """Every array that was recorded of `[0.6]*27`."""
    with np.load(shared_golden / "authors" / "filtersketch_resnet56_0.6.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def resnet56(shared_data: Path) -> Network:
    """The network that was sketched then."""
    return load_network(shared_data / "weights" / "resnet56-4bfd9763.th", "resnet56")


@pytest.fixture
def randomise(randomise: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    """Gives biases of convolutions values of their own, too."""

    def with_biases(model: nn.Module) -> nn.Module:
        draw = torch.Generator().manual_seed(3)
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.data.uniform_(-0.3, 0.3, generator=draw)
        return randomise(model)

    return with_biases
