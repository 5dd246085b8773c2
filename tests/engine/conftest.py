"""What tests of several parts of the engine share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # networks of these tests are also loaded by name


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Gives batch norms affine maps and statistics of their own: on fresh ones even wrong indices pass."""

    def randomise(model: nn.Module) -> nn.Module:
        draw = torch.Generator().manual_seed(3)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.data.uniform_(0.5, 1.5, generator=draw)
                module.bias.data.uniform_(-0.3, 0.3, generator=draw)
                module.running_mean.uniform_(-0.3, 0.3, generator=draw)
                module.running_var.uniform_(0.5, 1.5, generator=draw)
        return model.eval()

    return randomise
