"""Mini-networks with norms whose statistics several channels share, or each channel has for itself."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn


def cgr(ins: int, outs: int, groups: int) -> nn.Sequential:
    """Conv, group norm, SiLU."""
    return nn.Sequential(conv(ins, outs), nn.GroupNorm(groups, outs), nn.SiLU())


class GroupNorms(Mini):
    """Groups of two, four and eight channels in one residual stream, as in a diffusion U-Net's block."""

    PRUNES = ("stem.0", "one.0", "two.0", "wide.0")

    def __init__(self):
        super().__init__(features=24)
        self.one, self.two = cgr(16, 32, 8), cgr(32, 16, 4)
        self.norm, self.wide = nn.GroupNorm(8, 16), cgr(16, 24, 3)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.wide(F.silu(self.norm(x + self.two(self.one(x))))))


class GroupNormOfConcat(Mini):
    """Groups that reach over the seam of a concatenation, and fewer channels than there were before."""

    PRUNES = ("a", "b")

    def __init__(self):
        super().__init__(features=24)
        self.a, self.b, self.norm = conv(16, 10), conv(16, 14), nn.GroupNorm(6, 24)

    def forward(self, x):
        x = self.stem(x)
        return self.head(F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))


class GroupNormPlain(Mini):
    """Group norms without an affine part: their number of groups has no tensor to follow."""

    PRUNES = ("stem.0", "body")

    def __init__(self):
        super().__init__()
        self.before, self.body = nn.GroupNorm(4, 16, affine=False), conv(16, 16)
        self.after = nn.GroupNorm(8, 16, affine=False)

    def forward(self, x):
        return self.head(F.relu(self.after(self.body(self.before(self.stem(x))))))


class GroupNormLiteral(Mini):
    """The same as a function, its number of groups written into the code."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.group_norm(self.stem(x), 4)))


class GroupNormOfOnes(Mini):
    """As many groups as channels: an instance norm."""

    PRUNES = ("stem.0", "last.0")

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.GroupNorm(16, 16), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(self.norm(self.stem(x))))


class GroupNormAfterSigmoid(Mini):
    """What does not read as zero before the norm does behind it, by its affine part."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.GroupNorm(4, 16), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(self.norm(torch.sigmoid(self.stem(x)))))


class OneGroup(Mini):
    """One group of all channels: removing any would change the others."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.GroupNorm(1, 16), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(self.norm(self.stem(x))))


class LayerNorms(Mini):
    """Over channels in front and last position, and over space, which concerns no channel."""

    PRUNES = ("stem.0", "last.0")
    PINNED = ("body",)

    def __init__(self):
        super().__init__()
        self.space = nn.LayerNorm([16, 16], bias=False)
        self.body, self.norm, self.last = conv(16, 16), nn.LayerNorm(16), cbr(16, 16)

    def forward(self, x):
        x = self.body(self.space(self.stem(x)))
        x = F.layer_norm(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), (16, 16))
        return self.head(self.last(x))


class SpaceNormWithBias(Mini):
    """A norm over space with a bias of its own: a masked channel would not read as zero behind it."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.space, self.last = nn.LayerNorm([16, 16]), cbr(16, 16)
        nn.init.normal_(self.space.bias)

    def forward(self, x):
        return self.head(self.last(self.space(self.stem(x))))


class RootMeanSquare(Mini):
    """RMSNorm over channels."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.RMSNorm(16), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))


class LocalResponse(Mini):
    """AlexNet's norm: every channel's statistics are its neighbours'."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.LocalResponseNorm(5, alpha=1.0), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(self.norm(self.stem(x))))


class InstanceNorms(Mini):
    """Without an affine part, with one, and with statistics that were tracked."""

    PRUNES = ("stem.0", "one", "two")

    def __init__(self):
        super().__init__()
        self.one, self.two = conv(16, 16), conv(16, 16)
        self.plain = nn.InstanceNorm2d(16)
        self.tracked = nn.InstanceNorm2d(16, affine=True, track_running_stats=True)

    def forward(self, x):
        x = F.relu(self.plain(self.one(self.stem(x))))
        return self.head(F.relu(self.tracked(self.two(x))) ** 2)


class ChannelNormalised(Mini):
    """Divided by a norm over space (one number per channel), then by one over channels."""

    PRUNES = ("stem.0", "last.0")
    PINNED = ("body",)

    def __init__(self):
        super().__init__()
        self.body, self.last = conv(16, 16), cbr(16, 16)

    def forward(self, x):
        x = self.body(F.normalize(self.stem(x).flatten(2), dim=2).unflatten(2, (16, 16)))
        return self.head(self.last(F.normalize(x, dim=1)))


class GlobalResponse(Mini):
    """ConvNeXt-V2's: norms over space, divided by their mean over channels."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.gamma, self.last = nn.Parameter(torch.rand(1, 16, 1, 1)), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        norms = x.norm(dim=(2, 3), keepdim=True)
        return self.head(self.last(self.gamma * x * norms / (norms.mean(1, keepdim=True) + 1e-6) + x))
