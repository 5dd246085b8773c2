"""A small network with convolutions of several kinds, and images to score them on."""

import torch
from prune.engine import criteria
from prune.engine.graph.trace import trace
from torch import nn

SIZE = (3, 12, 12)


class Small(nn.Module):
    """Two convs in a row, a residual stream, a transposed conv and a conv with bias."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1, bias=True)
        self.bn2 = nn.BatchNorm2d(6)
        self.conv3 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)
        self.bn4 = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(x + self.bn3(self.conv3(y)))
        x = self.relu(self.bn4(self.up(x)))
        return self.linear(x.mean((2, 3)))


def make_small(seed=0):
    torch.manual_seed(seed)
    model = Small()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def make_batches(sizes=(3, 2)):
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.randn(n, *SIZE, generator=generator), torch.randint(0, 4, (n,), generator=generator))
        for n in sizes
    ]


def scores_of(name, model, batches=None):
    return criteria.score(name, model, trace(model, SIZE), batches=batches or make_batches())
