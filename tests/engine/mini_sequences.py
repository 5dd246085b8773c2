"""Mini-networks that read feature maps, or what is looked up in tables, as sequences."""

import torch.nn.functional as F
from mini_base import Mini, cbr
from torch import nn


class TextLines(Mini):
    """A CRNN: columns of the feature map into a bidirectional LSTM of two layers, then a plain layer."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.body = cbr(16, 12)
        self.lstm = nn.LSTM(12, 8, 2, bidirectional=True)
        self.rnn = nn.RNN(16, 16, batch_first=True, bias=False, nonlinearity="relu")

    def forward(self, x):
        columns = self.body(self.stem(x)).amax(2).permute(2, 0, 1)
        return self.fc(self.rnn(self.lstm(columns)[0].transpose(0, 1))[1][0])


class StepByStep(Mini):
    """Cells that are called once per column."""

    PRUNES = ("stem.0",)

    def __init__(self):
        super().__init__()
        self.gru, self.lstm = nn.GRUCell(16, 16), nn.LSTMCell(16, 16)

    def forward(self, x):
        columns = self.stem(x).mean(2)
        a, b = columns.new_zeros(len(x), 16), (columns.new_zeros(len(x), 16), columns.new_zeros(len(x), 16))
        for step in range(0, 16, 5):
            a, b = self.gru(columns[:, :, step], a), self.lstm(columns[:, :, step], b)
        return self.fc(a + b[0])


class RememberedState(Mini):
    """What a recurrent layer begins with is as wide as what it remembers."""

    PRUNES = ("stem.0",)
    PINNED = ("first",)

    def __init__(self):
        super().__init__()
        self.first, self.gru = nn.Conv2d(16, 16, 1), nn.GRU(16, 16, batch_first=True)

    def forward(self, x):
        x = self.stem(x)
        begin = self.first(x.mean((2, 3), keepdim=True)).flatten(1)[None]
        return self.fc(self.gru(x.mean(2).transpose(1, 2), begin)[0][:, -1])


class LookedUp(Mini):
    """Vectors out of a table, by a coarse number of each pixel, added to feature maps."""

    PRUNES = ("stem.0", "last.0")

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(10, 16), cbr(16, 16)

    def forward(self, x):
        numbers = (x.mean(1).abs() * 3).long().clamp(0, 9)
        return self.head(self.last(self.stem(x) + self.table(numbers).permute(0, 3, 1, 2)))


class Dilated(Mini):
    """Causal convolutions with growing dilation, whose padding is cropped, around a residual sum."""

    PRUNES = ("stem.0", "one", "two")

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(16, 24, 3, padding=4, dilation=2)
        self.two = nn.Conv1d(24, 16, 3, padding=8, dilation=4)

    def forward(self, x):
        x = self.stem(x).flatten(2)
        y = F.relu(self.one(x)[..., :-4])
        return self.fc(F.relu(x + self.two(y)[..., :-8]).mean(2))


class Conditioned(Mini):
    """A table's vectors scale and shift channels through linear layers (FiLM), their halves by chunk."""

    PRUNES = ("stem.0", "body.0")

    def __init__(self):
        super().__init__()
        self.table, self.film = nn.Embedding(10, 8), nn.Linear(8, 32)
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))

    def forward(self, x):
        times = (x.mean((1, 2, 3)).abs() * 30).long().clamp(0, 9)
        scale, shift = self.film(F.silu(self.table(times)))[:, :, None, None].chunk(2, 1)
        x = self.body(self.stem(x))
        return self.head(F.relu(x * (1 + scale) + shift))


class TimedBlock(Mini):
    """A diffusion U-Net's block: a point in time is added to its feature maps, between two group norms."""

    PRUNES = ("first",)
    PINNED = ()

    def __init__(self):
        super().__init__()
        self.table, self.time = nn.Embedding(10, 8), nn.Linear(8, 24)
        self.norm, self.first = nn.GroupNorm(4, 16), nn.Conv2d(16, 24, 3, padding=1)
        self.again, self.second = nn.GroupNorm(6, 24), nn.Conv2d(24, 16, 3, padding=1)

    def forward(self, x):
        times = (x.mean((1, 2, 3)).abs() * 30).long().clamp(0, 9)
        x = self.stem(x)
        y = self.first(F.silu(self.norm(x))) + self.time(F.silu(self.table(times)))[:, :, None, None]
        return self.head(x + self.second(F.silu(self.again(y))))
