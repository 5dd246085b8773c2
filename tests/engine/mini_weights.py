"""Mini-networks that use weights in unusual ways: shared, computed, grouped, transposed."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn
from torch.nn.utils import parametrizations


class ReusedModule(Mini):
    """One block applied twice: its input and output channels are tied."""

    PRUNES = ("body.0",)

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        return self.head(self.body(self.body(self.stem(x))))


class SharedWeights(Mini):
    """Two modules, one weight tensor."""

    PRUNES = ("one",)

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.two.weight = self.one.weight
        self.bn1, self.bn2 = nn.BatchNorm2d(16), nn.BatchNorm2d(16)

    def forward(self, x):
        return self.head(F.relu(self.bn2(self.two(F.relu(self.bn1(self.one(self.stem(x))))))))


class SharedHead(Mini):
    """One classifier over two scales, summed: a conv reused on tensors of other sizes."""

    PRUNES = ("stem.0", "scale", "tower.0")

    def __init__(self):
        super().__init__()
        self.scale, self.tower = nn.Conv2d(16, 16, 3, 2, 1), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.tower(x)) + self.head(self.tower(self.scale(x)))


class OneConvTwoNorms(Mini):
    """A conv applied twice, normalised by another BN each time."""

    PRUNES = ("body",)

    def __init__(self):
        super().__init__()
        self.body, self.norm1, self.norm2 = conv(16, 16), nn.BatchNorm2d(16), nn.BatchNorm2d(16)

    def forward(self, x):
        x = F.relu(self.norm1(self.body(self.stem(x))))
        return self.head(F.relu(self.norm2(self.body(x))))


class TiedClassifier(Mini):
    """The classifier's weight is the transpose of a hidden layer's."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(5, 16)

    def forward(self, x):
        x = self.stem(x).mean((2, 3))
        return F.linear(self.into(self.fc(x)), self.into.weight.t())


class FunctionalConv(Mini):
    """Weights that belong to no conv module, and a scale that is a bare parameter."""

    PRUNES = ("stem.0", "kernel")

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 16, 3, 3) * 0.1)
        self.scale = nn.Parameter(torch.rand(16) + 0.5)

    def forward(self, x):
        x = F.conv2d(self.stem(x), self.kernel, padding=1)
        return self.head(F.relu(x * self.scale[:, None, None]))


class ComputedWeight(Mini):
    """Weight standardisation: the conv's weight is no parameter."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 16, 3, 3) * 0.1)
        self.last = cbr(16, 16)

    def forward(self, x):
        weight = self.kernel - self.kernel.mean((1, 2, 3), keepdim=True)
        return self.head(self.last(F.relu(F.conv2d(self.stem(x), weight, padding=1))))


class WeightNorm(Mini):
    """A weight computed from direction and length: no parameter of the conv."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.body, self.last = parametrizations.weight_norm(conv(16, 16)), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.relu(self.body(self.stem(x)))))


class Einsum(Mini):
    """A 1x1 convolution written as an einsum, and one as a matrix product."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.mix, self.last = nn.Parameter(torch.randn(16, 16) * 0.2), cbr(16, 16)

    def forward(self, x):
        x = torch.einsum("nchw,dc->ndhw", self.stem(x), self.mix)
        n, c, h, w = x.shape
        x = (self.mix @ x.reshape(n, c, h * w)).reshape(n, -1, h, w)
        return self.head(self.last(x))


class Grouped(Mini):
    """A grouped conv between plain ones: positions are tied across its groups."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 32, groups=4)
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


class GroupedMultiples(Mini):
    """As many groups as inputs with two outputs each, transposed too; then fewer groups than channels."""

    PRUNES = ("stem.0", "last.0")

    def __init__(self):
        super().__init__(features=24)
        self.twice = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.up = nn.ConvTranspose2d(32, 64, 2, 2, groups=32)
        self.norm, self.last = nn.BatchNorm2d(64), cbr(64, 24, groups=4)

    def forward(self, x):
        return self.head(self.last(F.relu(self.norm(self.up(F.relu(self.twice(self.stem(x))))))))


class GroupedTransposed(Mini):
    """A grouped transposed conv that is not depthwise."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__(features=16)
        self.up, self.last = nn.ConvTranspose2d(16, 16, 2, 2, groups=4), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.relu(self.up(self.stem(x)))))


class LiteralGroups(Mini):
    """A functional conv whose number of groups is written into the code, and is not depthwise."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 4, 3, 3) * 0.1)

    def forward(self, x):
        return self.head(F.relu(F.conv2d(self.stem(x), self.kernel, padding=1, groups=4)))


class DepthwiseMultiplier(Mini):
    """A depthwise conv that makes three channels out of each."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__(features=48)
        self.body = cbr(16, 48, groups=16)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


class LiteralDepthwise(Mini):
    """A functional depthwise conv: its group count cannot follow."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.kernel, self.last = nn.Parameter(torch.randn(16, 1, 3, 3) * 0.1), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.relu(F.conv2d(self.stem(x), self.kernel, padding=1, groups=16))))


class Transposed(Mini):
    """Up-sampling by a transposed conv, whose weight has its filters on the second axis."""

    PRUNES = ("stem.0", "up")

    def __init__(self):
        super().__init__(features=12)
        self.up, self.norm = nn.ConvTranspose2d(16, 12, 2, 2), nn.BatchNorm2d(12)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.up(self.stem(x)))))


class ConvAndItsTranspose(Mini):
    """One weight, applied by a conv and, turned round, by a transposed conv (a tied auto-encoder)."""

    PRUNES = ("stem.0", "encode")

    def __init__(self):
        super().__init__()
        self.encode = nn.Conv2d(16, 12, 3, padding=1, bias=False)

    def forward(self, x):
        code = F.relu(self.encode(self.stem(x)))
        return self.head(F.relu(F.conv_transpose2d(code, self.encode.weight, padding=1)))


class Volumes(Mini):
    """Convs over one and over three dimensions."""

    PRUNES = ("stem.0", "line.0", "volume.0")

    def __init__(self):
        super().__init__()
        self.line = nn.Sequential(nn.Conv1d(16, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU())
        self.volume = nn.Sequential(nn.Conv3d(16, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU())

    def forward(self, x):
        x = self.line(self.stem(x).flatten(2))
        x = self.volume(x.unflatten(2, (4, 8, 8)))
        return self.fc(F.adaptive_avg_pool3d(x, 1).flatten(1))
