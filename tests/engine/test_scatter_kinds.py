"""`scatter` for branches of every kind: whatever convolves or normalises last, in one to three dimensions."""

import prune
import pytest
import torch
from torch import nn

KINDS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


class Branches(nn.Module):
    """A stream into which a convolution, a transposed one and normed ones are added."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv, transposed = KINDS[rank]
        self.stem = conv(3, 16, 3, padding=1)
        self.plain, self.transposed = conv(16, 16, 3, padding=1), transposed(16, 16, 3, padding=1)
        self.grouped = nn.Sequential(conv(16, 16, 1), nn.GroupNorm(4, 16))
        norm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[rank - 1]
        self.instance = nn.Sequential(conv(16, 16, 1), norm(16, affine=True))
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        for branch in (self.plain, self.transposed, self.grouped, self.instance):
            x = x + branch(x.relu())
        return self.fc(x.flatten(2).mean(2))


@pytest.mark.parametrize("rank", KINDS)
def test_every_branch_is_narrowed_alone(rank):
    torch.manual_seed(rank)
    size = (3, *(8,) * rank)
    net = prune.wrap(Branches(rank), inputs=torch.zeros(2, *size))
    thin = prune.prune(net, prune.plan(net, rate=0.5, residual="scatter"))
    assert thin.difference < 1e-12
    kept = {name: len(filters) for name, filters in thin.kept.items()}
    assert kept == {"stem": 16} | dict.fromkeys(("plain", "transposed", "grouped.0", "instance.0"), 8)
    assert thin.model.plain.out_channels == thin.model.transposed.out_channels == 8
    assert thin.model.grouped[1].num_groups == 2
