"""Mini-networks with branches that are added, concatenated, or gate each other."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn


class AddOfConcats(Mini):
    """Concatenations cut at different places, added."""

    PRUNES = ("a", "b", "c", "d")

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = conv(16, 6), conv(16, 10), conv(16, 10), conv(16, 6)

    def forward(self, x):
        x = self.stem(x)
        left = torch.cat([self.a(x), self.b(x)], 1)
        return self.head(F.relu(left + torch.cat([self.c(x), self.d(x)], 1)))


class ResidualConcat(Mini):
    """A stream into which a concatenation of branches is added, twice, and concatenated again."""

    PRUNES = ("stem.0", "a.0", "b.0", "c.0")

    def __init__(self):
        super().__init__(features=24)
        self.a, self.b, self.c = cbr(16, 8), cbr(16, 8, 1), cbr(16, 8)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + torch.cat([self.a(x), self.b(x)], 1))
        return self.head(torch.cat([self.c(x), x + torch.cat([self.b(x), self.a(x)], 1)], 1))


class SlicedStream(Mini):
    """Part of a stream's channels is worked on and put back in place of itself (partial convolution)."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.part, self.last = conv(4, 4), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        head, tail = torch.split(x, [4, 12], dim=1)
        return self.head(self.last(x + torch.cat([self.part(head), tail], 1)))


class LayerScale(Mini):
    """A learned scale per channel on the branch, of shape (C, 1, 1), and dropped paths and channels."""

    PRUNES = ("stem.0", "wide", "project")

    def __init__(self):
        super().__init__()
        self.wide, self.project = conv(16, 32), conv(32, 16, 1)
        self.gamma = nn.Parameter(torch.rand(16, 1, 1) + 0.1)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x):
        x = self.stem(x)
        branch = self.gamma * self.project(self.drop(F.gelu(self.wide(x))))
        if self.training:
            branch = branch * (torch.rand(len(x), 1, 1, 1) > 0.5)
        return self.head(x + branch)


class Inception(Mini):
    """Branches of several depths, concatenated with a pooled one, then reduced by a 1x1 conv."""

    PRUNES = ("stem.0", "one.0", "three.0.0", "three.1.0", "pool.1.0", "reduce.0")

    def __init__(self):
        super().__init__()
        self.one, self.three = cbr(16, 8, 1), nn.Sequential(cbr(16, 6, 1), cbr(6, 12))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), cbr(16, 4, 1))
        self.reduce = cbr(24, 16, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(
            self.reduce(torch.cat([branch(x) for branch in (self.one, self.three, self.pool)], 1))
        )


class UNet(Mini):
    """Down, up by interpolation and by a transposed conv, skips by concatenation."""

    PRUNES = ("stem.0", "down1.0", "down2.0", "up2", "merge2.0", "merge1.0")

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = cbr(16, 24, stride=2), cbr(24, 32, stride=2)
        self.up2, self.merge2 = nn.ConvTranspose2d(32, 24, 2, 2), cbr(48, 24)
        self.merge1 = cbr(40, 16)

    def forward(self, x):
        x0 = self.stem(x)
        x1 = self.down1(x0)
        x2 = self.merge2(torch.cat([self.up2(self.down2(x1)), x1], 1))
        up = F.interpolate(x2, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(self.merge1(torch.cat([x0, up], 1)))


class AuxiliaryHead(Mini):
    """A second classifier that only runs in training reads the stem."""

    PRUNES = ("body.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.body, self.aux = cbr(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        out = self.head(self.body(x))
        return (out, self.aux(x.mean((2, 3)))) if self.training else out


class SqueezeExcite(Mini):
    """A gate on the channels; its last conv goes with them."""

    PRUNES = ("stem.0", "down", "up")

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x):
        x = self.stem(x)
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.head(x * gate)


class ViewedGate(Mini):
    """Squeeze and excite with linear layers and literal views of the batch and channels."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.excite = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Hardsigmoid())

    def forward(self, x):
        x = self.stem(x)
        n, c, _, _ = x.size()
        gate = self.excite(F.adaptive_avg_pool2d(x, 1).view(n, c)).view(n, c, 1, 1)
        return self.head(x * gate.expand_as(x))


class SpatialAttention(Mini):
    """A one-channel map spread over all channels ties none of them."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.attend = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x * torch.sigmoid(self.attend(x)))


class TwoGates(Mini):
    """Channel gate, then spatial gate (CBAM): the second mixes channels by mean and max."""

    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.down, self.up, self.spatial = nn.Linear(16, 4), nn.Linear(4, 16), conv(2, 1, 7)

    def forward(self, x):
        x = self.stem(x)
        pooled = [F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)]
        gate = sum(self.up(F.relu(self.down(p))) for p in pooled).sigmoid()
        x = x * gate[:, :, None, None]
        maps = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return self.head(x * self.spatial(maps).sigmoid())


class SplitAttention(Mini):
    """Radix-2 split attention (ResNeSt): groups, softmax over the radix, a weighted sum."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.wide, self.down, self.up = cbr(16, 32, groups=2), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 32, 1)
        self.last = cbr(16, 16)

    def forward(self, x):
        x = self.wide(self.stem(x))
        n, c, h, w = x.shape
        parts = x.view(n, 2, c // 2, h, w)
        gate = self.up(F.relu(self.down(parts.sum(1).mean((2, 3), keepdim=True))))
        gate = gate.view(n, 2, c // 2, 1, 1).softmax(1)
        return self.head(self.last((parts * gate).sum(1)))
