"""What the authors' own code made of a ResNet-56, and that network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from prune.engine.network import Network, load_network
from torch import nn


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Gives batch norms affine maps and statistics of their own, and biases values."""

    def randomise(model: nn.Module) -> nn.Module:
        draw = torch.Generator().manual_seed(3)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.data.uniform_(0.5, 1.5, generator=draw)
                module.bias.data.uniform_(-0.3, 0.3, generator=draw)
                module.running_mean.uniform_(-0.3, 0.3, generator=draw)
                module.running_var.uniform_(0.5, 1.5, generator=draw)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.data.uniform_(-0.3, 0.3, generator=draw)
        return model.eval()

    return randomise
