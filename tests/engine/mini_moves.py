"""Mini-networks whose ops move channels, or tie a few of them."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn


class Generator(Mini):
    """Transposed convolutions in a row, grouped ones among them, as a DCGAN's decoder has."""

    PRUNES = ("stem.0", "one", "two", "three")

    def __init__(self):
        super().__init__(features=8)
        self.one, self.norm = nn.ConvTranspose2d(16, 24, 4, 2, 1, groups=4), nn.BatchNorm2d(24)
        self.two, self.three = nn.ConvTranspose2d(24, 16, 3, 1, 1, groups=2), nn.ConvTranspose2d(16, 8, 2, 2)

    def forward(self, x):
        x = F.relu(self.norm(self.one(F.max_pool2d(self.stem(x), 4))))
        return self.head(torch.tanh(self.three(F.leaky_relu(self.two(x)))))


class ShuffledGroups(Mini):
    """A grouped 1x1, a shuffle by two views, depthwise, 1x1, added."""

    PRUNES = ("stem.0", "down.0", "mid.0", "up.0")

    def __init__(self):
        super().__init__()
        self.down, self.mid, self.up = cbr(16, 24, 1, groups=4), cbr(24, 24, groups=24), cbr(24, 16, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.down(x)
        n, c, h, w = y.shape
        y = y.view(n, 4, c // 4, h, w).permute(0, 2, 1, 3, 4).contiguous().view(n, c, h, w)
        return self.head(x + self.up(self.mid(y)))


class SplitAndShuffle(Mini):
    """ShuffleNet-V2's: half of the channels pass, half are worked on, and an op shuffles both."""

    PRUNES = ("stem.0", "one.0", "two.0", "last.0")

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = cbr(8, 12, 1), cbr(12, 8, 1), cbr(16, 16)

    def forward(self, x):
        passed, worked = self.stem(x).chunk(2, 1)
        x = torch.cat([passed, self.two(self.one(worked))], 1)
        return self.head(self.last(F.channel_shuffle(x, 2)))


class Gates(Mini):
    """GLU as an op, halves by `split` with a computed width, and tanh times sigmoid as in WaveNet."""

    PRUNES = ("stem.0", "glu", "gate", "last.0")

    def __init__(self):
        super().__init__()
        self.glu, self.gate, self.last = conv(16, 32), conv(16, 32), cbr(16, 16)

    def forward(self, x):
        x = F.glu(self.glu(self.stem(x)), dim=1)
        x = self.gate(x)
        filtered, gated = x.split(x.shape[1] // 2, dim=1)
        return self.head(self.last(filtered.tanh() * gated.sigmoid()))


class Maxout(Mini):
    """The largest of every three neighbours, and of three maps apart."""

    PRUNES = ("stem.0", "three", "apart")

    def __init__(self):
        super().__init__()
        self.three, self.apart = conv(16, 48), conv(16, 48)

    def forward(self, x):
        x = self.three(self.stem(x)).unflatten(1, (-1, 3)).amax(2)
        return self.head(self.apart(x).unflatten(1, (3, -1)).max(1).values)


class SelectedKernels(Mini):
    """Two branches stacked, weighed by a softmax over the branches, summed (SKNet)."""

    PRUNES = ("stem.0", "small.0", "large.0", "down")

    def __init__(self):
        super().__init__()
        self.small, self.large = cbr(16, 16), cbr(16, 16, 5)
        self.down, self.up = conv(16, 8, 1), conv(8, 32, 1)

    def forward(self, x):
        x = self.stem(x)
        x = torch.stack([self.small(x), self.large(x)], 1)
        gate = self.up(F.relu(self.down(x.sum(1).mean((2, 3), keepdim=True))))
        gate = gate.unflatten(1, (2, -1)).softmax(1)
        return self.head((x * gate).sum(1))


class SubPixel(Mini):
    """Sub-pixel convolution as an op, and space to depth on the way back."""

    PRUNES = ("stem.0", "wide", "back.0")

    def __init__(self):
        super().__init__()
        self.wide, self.back = conv(16, 32), cbr(32, 16)

    def forward(self, x):
        return self.head(self.back(F.pixel_unshuffle(F.relu(F.pixel_shuffle(self.wide(self.stem(x)), 2)), 2)))


class DepthToSpaceByViews(Mini):
    """The same written with views, which move channels into space."""

    PRUNES = ("stem.0", "wide")

    def __init__(self):
        super().__init__(features=8)
        self.wide, self.last = conv(16, 32), cbr(8, 8)

    def forward(self, x):
        x = self.wide(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)
        x = F.max_pool2d(x, 3, 1, 1)
        return self.head(self.last(x))
