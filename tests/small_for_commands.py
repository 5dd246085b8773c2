"""Small networks for tests of commands, where none of ours is small enough."""

from functools import partial

import pytest
from prune.archs import registry, resnet_cifar
from prune.archs.arch import Arch

# A module of the user's own with a network `net` for the digits, which is trained for an epoch in a moment.
BRIEF = """
from torch import nn

def net(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(128, num_classes))
"""


def make_known(patch: pytest.MonkeyPatch) -> None:
    """Let `resnet8`, with one block per stage, be a network like any other until `patch` is undone."""
    build, blocks = partial(resnet_cifar.ResNetCifar, 1), resnet_cifar._blocks_of(1)
    arch = Arch("resnet8", build, num_classes=10, input_size=(3, 32, 32), blocks=blocks)
    patch.setitem(registry._built_in(), "resnet8", arch)
