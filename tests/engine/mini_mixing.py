"""Mini-networks in which some op mixes channels: attention, recurrence, norms over all of them."""

import torch
import torch.nn.functional as F
from mini_base import Mini, cbr
from torch import nn


class MixedChannels(Mini):
    """Mean and softmax over channels: what feeds them stays; a group norm, which whole groups leave."""

    PRUNES = ("stem.0", "last.0")
    PINNED = ("mid.0",)

    def __init__(self):
        super().__init__()
        self.norm, self.mid, self.last = nn.GroupNorm(4, 16), cbr(16, 16), cbr(17, 16)

    def forward(self, x):
        x = self.mid(self.norm(self.stem(x)))
        return self.head(self.last(torch.cat([F.softmax(x, 1), x.mean(1, keepdim=True)], 1)))


class ChannelsLastBlock(Mini):
    """Permuted to N, H, W, C for a linear layer, and back."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.mix, self.norm = nn.Linear(16, 16), nn.BatchNorm2d(16)

    def forward(self, x):
        x = self.mix(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(F.relu(self.norm(x)))


class NormOfAll(Mini):
    """Features divided by their norm over the channels, which mixes them."""

    PRUNES = ("last.0",)

    def __init__(self):
        super().__init__()
        self.last = cbr(16, 16)

    def forward(self, x):
        return self.head(self.last(F.normalize(self.stem(x), dim=1)))


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
