"""Adversarial mini-networks: each does one thing that breaks pruning tools.

Every class says what must come of it: `PRUNES` names layers that must get narrower, `PINNED` layers that must
not.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

SIZE = (3, 16, 16)


def cbr(ins: int, outs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Conv, BN, ReLU."""
    conv = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outs), nn.ReLU())


class Mini(nn.Module):
    """A stem, something difficult, a pooled classifier."""

    PRUNES: tuple[str, ...] = ()
    PINNED: tuple[str, ...] = ()

    def __init__(self, width: int = 16, features: int = 16) -> None:
        super().__init__()
        self.stem = cbr(3, width)
        self.fc = nn.Linear(features, 5)

    def head(self, x):
        return self.fc(x.mean((2, 3)))


class Plain(Mini):
    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


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


class Grouped(Mini):
    """A grouped conv between plain ones: positions are tied across its groups."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 32, groups=4)
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


class DepthwiseMultiplier(Mini):
    """A depthwise conv that makes three channels out of each."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__(features=48)
        self.body = cbr(16, 48, groups=16)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


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


class SpatialAttention(Mini):
    """A one-channel map spread over all channels ties none of them."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.attend = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x * torch.sigmoid(self.attend(x)))


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


class Transposed(Mini):
    """Up-sampling by a transposed conv, whose weight has its filters on the second axis."""

    PRUNES = ("stem.0", "up")

    def __init__(self):
        super().__init__(features=12)
        self.up, self.norm = nn.ConvTranspose2d(16, 12, 2, 2), nn.BatchNorm2d(12)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.up(self.stem(x)))))


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


class MixedChannels(Mini):
    """Mean and softmax over channels, and a group norm: what feeds them stays."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0", "mid.0")

    def __init__(self):
        super().__init__()
        self.norm, self.mid, self.last = nn.GroupNorm(4, 16), cbr(16, 16), cbr(17, 16)

    def forward(self, x):
        x = self.mid(self.norm(self.stem(x)))
        return self.head(self.last(torch.cat([F.softmax(x, 1), x.mean(1, keepdim=True)], 1)))


class LiteralGroups(Mini):
    """A functional conv whose number of groups is written into the code, and is not depthwise."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 4, 3, 3) * 0.1)

    def forward(self, x):
        return self.head(F.relu(F.conv2d(self.stem(x), self.kernel, padding=1, groups=4)))


class LiteralDepthwise(Mini):
    """A functional depthwise conv: its group count cannot follow."""

    PRUNES = ("last.0",)
    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.kernel, self.last = nn.Parameter(torch.randn(16, 1, 3, 3) * 0.1), cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.relu(F.conv2d(self.stem(x), self.kernel, padding=1, groups=16))))


class PReLUPerChannel(Mini):
    """Slopes per channel, in the channels-last position of a linear layer too."""

    PRUNES = ("stem.0", "body")

    def __init__(self):
        super().__init__()
        self.body, self.act = nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16)

    def forward(self, x):
        return self.head(self.act(self.body(self.stem(x))))


class ChannelsLastBlock(Mini):
    """Permuted to N, H, W, C for a linear layer, and back."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.mix, self.norm = nn.Linear(16, 16), nn.BatchNorm2d(16)

    def forward(self, x):
        x = self.mix(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(F.relu(self.norm(x)))


class WidthBranch(Mini):
    """Python code that runs something else once the network is narrower."""

    PINNED = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 16)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.body(x if x.shape[1] == 16 else torch.flip(x, [1])))


# What other files add when they are imported is a mini-network too.
NAMED: dict[str, type[Mini]] = {}


def add(classes: Iterable[object]) -> None:
    """Make the mini-networks among some objects known by their names."""
    NAMED.update(
        {c.__name__: c for c in classes if isinstance(c, type) and issubclass(c, Mini) and c is not Mini}
    )


add(list(globals().values()))


def build(name: str) -> Mini:
    """The network called `name`, BN affine and statistics randomised, so that wrong indices show."""
    torch.manual_seed(sum(map(ord, name)))
    network = NAMED[name]()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def __getattr__(attribute: str):
    """`make_NAME`: a factory as users write it in `module:factory`."""
    if attribute.startswith("make_"):
        return lambda: build(attribute.removeprefix("make_"))
    raise AttributeError(attribute)
