"""Mini-networks whose ops move channels, tie a few of them, or sum over them in other ways than layers do."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn
from torchvision.ops import DeformConv2d


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


class Windows(Mini):
    """A convolution by `unfold` and a matrix product, folded back, and windows by `Tensor.unfold`."""

    PRUNES = ("stem.0", "last.0")

    def __init__(self):
        super().__init__()
        self.body, self.last = nn.Linear(16 * 9, 16 * 4), cbr(16, 16)

    def forward(self, x):
        x = F.unfold(self.stem(x), 3, padding=1, stride=2)
        x = F.fold(self.body(x.transpose(1, 2)).transpose(1, 2), (16, 16), 2, stride=2)
        return self.head(self.last(x.unfold(2, 3, 1).mean(-1)))


class Products(Mini):
    """1x1 convolutions as matrix products from either side, as einsum and with weights in the middle."""

    PRUNES = ("stem.0", "body.0", "last.0")

    def __init__(self):
        super().__init__()
        self.right, self.left = (
            nn.Parameter(torch.randn(16, 12) * 0.2),
            nn.Parameter(torch.randn(10, 12) * 0.2),
        )
        self.spelt, self.body, self.last = nn.Parameter(torch.randn(10, 16) * 0.2), cbr(16, 16), cbr(16, 16)

    def forward(self, x):
        x = self.body(self.stem(x))
        n, _, h, w = x.shape
        x = (x.flatten(2).transpose(1, 2) @ self.right).relu()
        x = torch.matmul(self.left, x.transpose(1, 2)).tanh()
        x = torch.einsum("...Cl, Cd -> ...dl", x, self.spelt)
        return self.head(self.last(x.reshape(n, -1, h, w)))


class SelfProducts(Mini):
    """A non-local block: positions are compared over channels, and weigh the values of all positions."""

    PRUNES = ("stem.0", "query", "key", "value", "out")

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = conv(16, 8, 1), conv(16, 8, 1), conv(16, 12, 1)
        self.out = conv(12, 16, 1)

    def forward(self, x):
        x = self.stem(x)
        small = F.max_pool2d(x, 4)
        q, k, v = (f(small).flatten(2) for f in (self.query, self.key, self.value))
        weights = torch.bmm(q.transpose(1, 2), k).softmax(-1)
        mixed = torch.einsum("bij,bcj->bci", weights, v).unflatten(2, (4, 4))
        return self.head(x + F.interpolate(self.out(mixed), size=x.shape[2:], mode="bilinear"))


class ChannelGram(Mini):
    """Channels compared with channels (DANet): both sides of the square are channels, and stay."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        flat = x.flatten(2)
        weights = torch.bmm(flat, flat.transpose(1, 2)).softmax(-1)
        return self.head(self.last(x + torch.bmm(weights, flat).view_as(x)))


class NotZeroTimesNotZero(Mini):
    """Channels summed over where neither side reads as zero."""

    PINNED = ("one", "two")

    def __init__(self):
        super().__init__(features=64)
        self.one, self.two = conv(16, 12, 1), conv(16, 12, 1)

    def forward(self, x):
        x = F.max_pool2d(self.stem(x), 2)
        a, b = self.one(x).sigmoid().flatten(2), self.two(x).cosh().flatten(2)
        return self.fc(torch.einsum("ncl,ncm->nlm", a, b).mean(1))


class ContextVector(Mini):
    """Global context (GCNet): one attention map for all positions, a matrix product with it, a gate."""

    PRUNES = ("stem.0", "down", "up")

    def __init__(self):
        super().__init__()
        self.mask, self.down, self.up = conv(16, 1, 1), conv(16, 6, 1), conv(6, 16, 1)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        weights = self.mask(x).reshape(n, 1, h * w).softmax(-1).unsqueeze(3)
        context = torch.matmul(x.reshape(n, c, h * w).unsqueeze(1), weights).view(n, c, 1, 1)
        return self.head(x * self.up(F.relu(self.down(context))).sigmoid())


class Deformed(Mini):
    """Deformable convolutions with and without a mask, bias and groups; offsets stay."""

    PRUNES = ("stem.0", "one", "two")
    PINNED = ("offset",)

    def __init__(self):
        super().__init__()
        self.offset, self.mask = conv(16, 2 * 2 * 9), conv(16, 2 * 9)
        self.one = DeformConv2d(16, 16, 3, padding=1, groups=2)
        self.two = DeformConv2d(16, 16, 3, padding=1, bias=False)

    def forward(self, x):
        x = self.stem(x)
        offset = self.offset(x)
        y = F.relu(self.one(x, offset, self.mask(x).sigmoid()))
        return self.head(F.relu(self.two(y, offset[:, :18])))


class Resampled(Mini):
    """Sampled at grids, resized to another tensor's size, unpooled, sorted and summed over space."""

    PRUNES = ("stem.0", "body.0", "last.0")

    def __init__(self):
        super().__init__()
        self.body, self.place, self.last = cbr(16, 16), conv(16, 2, 1), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        small, places = F.max_pool2d(x, 2, return_indices=True)
        y = F.interpolate(self.body(small), size=x.shape[-2:], mode="bicubic")
        y = y + F.max_unpool2d(small, places, 2) + F.interpolate(small, x.shape[-2:], mode="area")
        y = F.grid_sample(y, self.place(x).tanh().permute(0, 2, 3, 1), align_corners=False)
        y = y.cumsum(2) / 16 + y.sort(dim=3).values + F.interpolate(F.lp_pool2d(y, 2, 2), scale_factor=2)
        y = y + F.adaptive_max_pool2d(y, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
        return self.head(self.last(torch.where(y > 0, y, 0.1 * y) * y.flatten(2).softmax(-1).view_as(y)))


class PooledChannels(Mini):
    """A pooling window that slides over channels, which keeps their number but mixes them."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        mixed = F.avg_pool1d(x.flatten(2).transpose(1, 2), 3, 1, 1).transpose(1, 2).view_as(x)
        return self.head(self.last(x + mixed))


class EfficientGate(Mini):
    """ECA: a one-dimensional convolution along the channels."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.along, self.last = nn.Conv1d(1, 1, 3, padding=1, bias=False), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        gate = self.along(x.mean((2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(3)
        return self.head(self.last(x * gate))


class Blur(Mini):
    """One blurring kernel spread over however many channels there are."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16)
        self.body = cbr(16, 16)

    def forward(self, x):
        for part in (self.stem, self.body):
            x = part(x)
            kernel = self.kernel.expand(x.shape[1], -1, -1, -1)
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=x.shape[1])
        return self.head(x)


class Spectrum(Mini):
    """Filtered in the frequency domain: complex numbers are not followed."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.filter, self.last = nn.Parameter(torch.randn(16, 16, 9, 2) * 0.1), cbr(16, 16)

    def forward(self, x):
        spectrum = torch.fft.rfft2(self.stem(x)) * torch.view_as_complex(self.filter)
        return self.head(self.last(torch.fft.irfft2(spectrum, s=(16, 16))))


class Ordered(Mini):
    """The largest channels, and distances between channels: whichever they are, they are all needed."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(8, 16)

    def forward(self, x):
        x = self.stem(x)
        x = x.topk(8, dim=1).values + torch.cdist(x.flatten(2), x.flatten(2)).mean((1, 2)).view(-1, 1, 1, 1)
        return self.head(self.last(x + x.argmax(1, keepdim=True)))


class ScaledProducts(Mini):
    """Correlation volumes divided by a number of channels that is a tensor, as RAFT divides them."""

    PRUNES = ("stem.0", "last.0")
    PINNED = ("one", "two")

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = conv(16, 8, 1), conv(16, 8, 1), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        a, b = (f(F.max_pool2d(x, 4)).flatten(2) for f in (self.one, self.two))
        costs = torch.matmul(a.transpose(1, 2), b) / torch.sqrt(torch.tensor(a.shape[1]))
        return self.head(self.last(x * costs.mean((1, 2))[:, None, None, None]))
