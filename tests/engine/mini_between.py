"""Mini-networks with something awkward between their layers: ops in place, norms, fills, buffers."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn


class Plain(Mini):
    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


class BiasWithoutBN(Mini):
    """Convs with a bias and no BN."""

    PRUNES = ("one", "two")

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.head(F.relu(self.two(F.relu(self.one(self.stem(x))))))


class SigmoidBeforeConv(Mini):
    """A removed channel would read as one half: it must stay."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(torch.sigmoid(self.stem(x))))


class PReLUPerChannel(Mini):
    """Slopes per channel, in the channels-last position of a linear layer too."""

    PRUNES = ("stem.0", "body")

    def __init__(self):
        super().__init__()
        self.body, self.act = nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16)

    def forward(self, x):
        return self.head(self.act(self.body(self.stem(x))))


class Square(Mini):
    """A tensor times itself, and divided by something of itself that is never zero."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        x = self.body(x * x / (1 + x.abs()))
        return self.head(x.pow(2) * x)


class InPlaceAdd(Mini):
    """`out += shortcut`, `relu_`, `mul_` and `clamp_`."""

    PRUNES = ("stem.0", "body")

    def __init__(self):
        super().__init__()
        self.body = conv(16, 16)

    def forward(self, x):
        x = self.stem(x)
        out = self.body(x)
        out += x
        return self.head(out.relu_().mul_(0.5).clamp_(0, 6))


class InPlaceOnView(Mini):
    """In-place arithmetic on a view of some channels: the tensor behind the view changes too."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x).clone()
        x[:, :8] += 1.0
        return self.head(self.last(x))


class InPlaceOnSlice(Mini):
    """An in-place op on a part whose result nobody uses: the tensor behind it has changed."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        right = x[:, 8:]
        right.sigmoid_()
        return self.head(self.last(x))


class CopiedInto(Mini):
    """Feature maps copied into a buffer made beforehand."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.a, self.last = conv(16, 8), cbr(16, 16)

    def forward(self, x):
        a = self.a(self.stem(x))
        out = torch.zeros(a.shape[0], 16, *a.shape[2:], dtype=a.dtype, device=a.device)
        out[:, 4:12] = a
        return self.head(self.last(out))


class NormalisedInput(Mini):
    """Mean and deviation as buffers of the network, in its forward."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1))

    def forward(self, x):
        return self.head(self.stem((x - self.mean) / self.std))


class FeatureBuffers(Mini):
    """A fixed scale, offset and blur per channel, kept as buffers between layers."""

    PRUNES = ("stem.0", "body", "last.0")

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.rand(1, 16, 1, 1) + 0.5)
        self.register_buffer("offset", torch.rand(16, 1, 1))
        self.register_buffer("blur", torch.full((16, 1, 3, 3), 1 / 9))
        self.body, self.last = conv(16, 16), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x) * self.scale + self.offset
        x = F.conv2d(x, self.blur, padding=1, groups=x.shape[1])
        return self.head(self.last(F.relu(self.body(x))))


class MaskedFill(Mini):
    """`where`, `masked_fill`, comparison and clamping: some leave zero, some do not."""

    PRUNES = ("body.0", "last.0")

    def __init__(self):
        super().__init__()
        self.body, self.last = cbr(16, 16), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        x = torch.where(x > 0.5, x, torch.full_like(x, 0.25))
        x = self.body(x)
        return self.head(self.last(x.masked_fill(x > 1, 0.0).clamp(min=-1)))


class NoAffineNorm(Mini):
    """A BN without affine part after a conv with bias: a masked channel does not leave it as zero."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.last = conv(16, 16), nn.BatchNorm2d(16, affine=False), cbr(16, 16)
        self.norm.running_mean.uniform_(-1, 1)

    def forward(self, x):
        return self.head(self.last(F.relu(self.norm(self.body(self.stem(x))))))


class InstanceNorm(Mini):
    """Instance normalisation, as a function and with an affine part, goes by channel."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body, self.norm = cbr(16, 16), nn.InstanceNorm2d(16, affine=True)

    def forward(self, x):
        return self.head(self.norm(self.body(F.instance_norm(self.stem(x)))) ** 2)


class ChannelDropout(Mini):
    """Every kind of dropout, and a part that is checkpointed."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)
        self.drops = nn.Sequential(nn.Dropout(0.2), nn.Dropout2d(0.2), nn.Identity(), nn.AlphaDropout(0.1))

    def forward(self, x):
        x = self.drops(self.stem(x))
        return self.head(torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False))


class Crop(Mini):
    """Negative padding, reflection padding, rolling and an odd crop: none of it touches channels."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), nn.ReLU())

    def forward(self, x):
        x = F.pad(self.stem(x), (-1, -2, 3, 0))
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return self.head(self.body(torch.roll(x, 1, 2)[:, :, 1:-1, ::2]))
