"""Mini-networks whose ops sum over channels or positions, or compare them, in other ways than layers do."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr, conv
from torch import nn
from torchvision.ops import DeformConv2d


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
