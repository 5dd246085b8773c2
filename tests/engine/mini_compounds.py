"""More adversarial mini-networks: combinations that users bring, each of parts that are simple alone."""

import mini_networks
import torch
import torch.nn.functional as F
from mini_networks import Mini, cbr
from torch import nn
from torch.nn.utils import parametrizations


def conv(ins: int, outs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution with a bias that keeps the size of the image."""
    return nn.Conv2d(ins, outs, kernel, padding=kernel // 2)


class ConvAndItsTranspose(Mini):
    """One weight, applied by a conv and, turned round, by a transposed conv (a tied auto-encoder)."""

    PRUNES = ("stem.0", "encode")

    def __init__(self):
        super().__init__()
        self.encode = nn.Conv2d(16, 12, 3, padding=1, bias=False)

    def forward(self, x):
        code = F.relu(self.encode(self.stem(x)))
        return self.head(F.relu(F.conv_transpose2d(code, self.encode.weight, padding=1)))


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


class OpenSlice(Mini):
    """`x[:, :4]` in front of a conv, the rest unused by it."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.part, self.last = conv(4, 16), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.last(x + self.part(x[:, :4])))


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


class OneConvTwoNorms(Mini):
    """A conv applied twice, normalised by another BN each time."""

    PRUNES = ("body",)

    def __init__(self):
        super().__init__()
        self.body, self.norm1, self.norm2 = conv(16, 16), nn.BatchNorm2d(16), nn.BatchNorm2d(16)

    def forward(self, x):
        x = F.relu(self.norm1(self.body(self.stem(x))))
        return self.head(F.relu(self.norm2(self.body(x))))


class SharedHead(Mini):
    """One classifier over two scales, summed: a conv reused on tensors of other sizes."""

    PRUNES = ("stem.0", "scale", "tower.0")

    def __init__(self):
        super().__init__()
        self.scale, self.tower = nn.Conv2d(16, 16, 3, 2, 1), cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.tower(x)) + self.head(self.tower(self.scale(x)))


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


class WeightNorm(Mini):
    """A weight computed from direction and length: no parameter of the conv."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.body, self.last = parametrizations.weight_norm(conv(16, 16)), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.relu(self.body(self.stem(x)))))


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


class Attention(Mini):
    """Patches, multi-head attention with a literal number of heads, a hidden layer."""

    PRUNES = ("stem.0",)
    PINNED = ("patch",)

    def __init__(self):
        super().__init__()
        self.patch, self.qkv, self.project = nn.Conv2d(16, 16, 4, 4), nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm, self.hidden, self.back = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.place = nn.Parameter(torch.randn(1, 16, 16) * 0.1)

    def forward(self, x):
        x = self.patch(self.stem(x)).flatten(2).transpose(1, 2) + self.place
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
        x = x + self.project(mixed.transpose(1, 2).reshape(n, length, width))
        x = x + self.back(F.gelu(self.hidden(self.norm(x))))
        return self.fc(x.mean(1))


class FusedAttention(Mini):
    """PyTorch's own attention module over conv features."""

    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.fc(self.attend(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(Mini):
    """A GRU that reads the rows of the feature map."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.mix, self.gru = cbr(16, 16), nn.GRU(16, 16, batch_first=True)

    def forward(self, x):
        rows = self.mix(self.stem(x)).mean(3).transpose(1, 2)
        return self.fc(self.gru(rows)[0][:, -1])


class NormOfAll(Mini):
    """Features divided by their norm over the channels, which mixes them."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.normalize(self.stem(x), dim=1)))


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


class MeanThenFlatten(Mini):
    """`mean`, `flatten`, two linear layers with a BN between them."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.hidden, self.norm = nn.Linear(16, 32), nn.BatchNorm1d(32)
        self.last = nn.Linear(32, 5)

    def forward(self, x):
        x = self.stem(x).mean([2, 3], keepdim=True).flatten(1)
        return self.last(F.relu(self.norm(self.hidden(x))))


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

    PRUNES = ("stem.0",)
    PINNED = ("wide",)

    def __init__(self):
        super().__init__(features=8)
        self.wide = conv(16, 32)

    def forward(self, x):
        return self.head(F.relu(F.pixel_shuffle(self.wide(self.stem(x)), 2)))


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


class Selection(Mini):
    """Channels picked by a list, by a stride and in reverse order."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(4 + 8 + 16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.last(torch.cat([x[:, [3, 1, 9, 12]], x[:, ::2], x.flip(1)], 1)))


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


class TiedClassifier(Mini):
    """The classifier's weight is the transpose of a hidden layer's."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(5, 16)

    def forward(self, x):
        x = self.stem(x).mean((2, 3))
        return F.linear(self.into(self.fc(x)), self.into.weight.t())


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


class PadWithOnes(Mini):
    """A padding whose fill is not zero, on channels."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(20, 16)

    def forward(self, x):
        return self.head(self.last(F.pad(self.stem(x), (0, 0, 0, 0, 2, 2), value=1.0)))


mini_networks.add(list(globals().values()))


def __getattr__(attribute: str):
    """`make_NAME`, of either file: a factory as users write it in `module:factory`."""
    return getattr(mini_networks, attribute)
