"""Mini-networks that cut channels apart, put them together or pick some, often by literal numbers."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn


class EqualChunk(Mini):
    """Two halves used differently: only cuts that leave the halves equal would survive `chunk`."""

    def __init__(self):
        super().__init__()
        self.left, self.right = cbr(8, 8), cbr(8, 8)

    def forward(self, x):
        a, b = self.stem(x).chunk(2, dim=1)
        return self.head(torch.cat([self.left(a), self.right(b)], 1))

    PRUNES = ("left.0", "right.0")


class UnequalSplit(EqualChunk):
    """Literal, unequal split sizes."""

    PRUNES = ("left.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.left, self.right = cbr(5, 8), cbr(11, 8)

    def forward(self, x):
        a, b = self.stem(x).split([5, 11], dim=1)
        return self.head(torch.cat([self.left(a), self.right(b)], 1))


class GatedHalves(Mini):
    """A gated linear unit: one half of the channels gates the other."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.wide, self.last = conv(16, 32), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.glu(self.wide(self.stem(x)), dim=1)))


class GatedChunks(GatedHalves):
    """The same with `chunk`, whose halves are cut wherever the middle is."""

    PRUNES = ("last.0", "wide")

    def forward(self, x):
        value, gate = self.wide(self.stem(x)).chunk(2, 1)
        return self.head(self.last(value * gate.sigmoid()))


class SimpleGate(GatedHalves):
    """Halves multiplied; a max over the halves (maxout) beside it."""

    PRUNES = ("last.0", "wide")

    def forward(self, x):
        a, b = self.wide(self.stem(x)).chunk(2, 1)
        return self.head(self.last(a * b + torch.maximum(a, b)))


class OpenSlice(Mini):
    """`x[:, :4]` in front of a conv, the rest unused by it."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.part, self.last = conv(4, 16), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.last(x + self.part(x[:, :4])))


class Selection(Mini):
    """Channels picked by a list, by a stride and in reverse order."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(4 + 8 + 16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.last(torch.cat([x[:, [3, 1, 9, 12]], x[:, ::2], x.flip(1)], 1)))


class HardCodedView(Mini):
    """`view(-1, 16 * 49)`: the number is frozen in the code."""

    PRUNES = ("stem.0",)
    PINNED = ("body.0",)

    def __init__(self):
        super().__init__(features=16 * 49)
        self.body = cbr(16, 16)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.body(self.stem(x)), 7)
        return self.fc(x.view(-1, 16 * 49))


class Flatten7x7(HardCodedView):
    """The same, written so that it follows the width."""

    PRUNES = ("stem.0", "body.0")
    PINNED = ()

    def forward(self, x):
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.body(self.stem(x)), 7), 1))


class LiteralReshape(Mini):
    """Channels folded into the batch, and back, by numbers taken from shapes."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.one, self.last = nn.Conv2d(1, 1, 3, padding=1), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        return self.head(self.last(F.relu(self.one(x.reshape(n * c, 1, h, w)).reshape(n, c, h, w))))


class LiteralPad(Mini):
    """Option A written as `F.pad` with a frozen number of zero channels, between streams of other widths."""

    PRUNES = ("a1.0", "b1.0")

    def __init__(self):
        super().__init__(width=8)
        self.a1, self.a2 = cbr(8, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.b1, self.b2 = cbr(8, 16, stride=2), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.a2(self.a1(x)))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.head(F.relu(self.b2(self.b1(x)) + shortcut))


class ConcatZeros(LiteralPad):
    """Option A written as a concatenation with zeros made like the input."""

    PRUNES = ("a1.0", "b1.0")

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.a2(self.a1(x)))
        y = x[:, :, ::2, ::2]
        shortcut = torch.cat([y, torch.zeros_like(y)], 1)
        return self.head(F.relu(self.b2(self.b1(x)) + shortcut))


class ConcatTimesZero(LiteralPad):
    """Option A of the original papers' code: `cat(x, x.mul(0))`."""

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.a2(self.a1(x)))
        y = F.avg_pool2d(x, 1, 2)
        return self.head(F.relu(self.b2(self.b1(x)) + torch.cat((y, y.mul(0)), 1)))


class PadWithOnes(Mini):
    """A padding whose fill is not zero, on channels."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(20, 16)

    def forward(self, x):
        return self.head(self.last(F.pad(self.stem(x), (0, 0, 0, 0, 2, 2), value=1.0)))


class ImageConcat(Mini):
    """The image and coordinate maps beside features, broadcast over the batch (CoordConv)."""

    PRUNES = ("stem.0", "last.0")

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.linspace(-1, 1, 16).expand(1, 1, 16, 16).clone())
        self.last = cbr(16 + 3 + 1 + 16, 16)

    def forward(self, x):
        features = self.stem(x)
        summary = features.mean((2, 3), keepdim=True).expand(-1, -1, 16, 16)
        return self.head(
            self.last(torch.cat([features, x, self.grid.expand(len(x), -1, -1, -1), summary], 1))
        )


class DenseConcat(Mini):
    """Growing concatenation in front of a BN."""

    PRUNES = ("grow.0", "again.0", "stem.0")

    def __init__(self):
        super().__init__(features=32)
        self.grow, self.again = cbr(16, 8), cbr(24, 8)
        self.norm = nn.BatchNorm2d(32)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([x, self.grow(x)], 1)
        x = torch.cat([x, self.again(x)], 1)
        return self.head(F.relu(self.norm(x)))


class ChannelShuffle(Mini):
    """The shuffle's group count is frozen; a cut may only stay if no channel lands in another's place."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.last(x))


class SpaceToDepth(Mini):
    """Pixels moved into channels and back: one channel becomes four neighbours."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.body = cbr(64, 16)

    def forward(self, x):
        return self.head(self.body(F.pixel_unshuffle(self.stem(x), 2)))


class DepthToSpace(Mini):
    """Sub-pixel up-sampling: four channels become one."""

    PRUNES = ("stem.0", "wide")

    def __init__(self):
        super().__init__(features=8)
        self.wide = conv(16, 32)

    def forward(self, x):
        return self.head(F.relu(F.pixel_shuffle(self.wide(self.stem(x)), 2)))


class WidthBranch(Mini):
    """Python code that runs something else once the network is narrower."""

    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.body(x if x.shape[1] == 16 else torch.flip(x, [1])))


class WidthScaled(Mini):
    """The width itself is a number in the computation: dividing by it is another function when narrow."""

    PRUNES = ("body.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.body(x / x.shape[1] ** 0.5))
