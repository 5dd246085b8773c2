"""Networks of kinds that no library has under a name: as people write them, and small."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class UNet(nn.Module):
    """Encoder, decoder with transposed convolutions, skips by concatenation."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double(i, o) for i, o in zip((3, *widths), widths, strict=False))
        self.bottom = _double(widths[-1], 2 * widths[-1])
        steps = [2 * widths[-1], *reversed(widths)]
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in itertools.pairwise(steps))
        self.join = nn.ModuleList(_double(2 * o, o) for o in steps[1:])
        self.head = nn.Conv2d(widths[0], 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            x = F.interpolate(up(x), size=skip.shape[-2:])
            x = join(torch.cat([x, skip], 1))
        return self.head(x)


def _double(i: int, o: int) -> nn.Sequential:
    convs = ((i, o), (o, o))
    parts = [
        part
        for a, b in convs
        for part in (nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
    ]
    return nn.Sequential(*parts)


class DiffusionUNet(nn.Module):
    """GroupNorm residual blocks, shifted by an embedding of the time, with attention at the bottom."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            [_TimeBlock(width, width, 4 * width), _TimeBlock(width, 2 * width, 4 * width)]
        )
        self.shrink = nn.ModuleList(
            [nn.Conv2d(width, width, 3, 2, 1), nn.Conv2d(2 * width, 2 * width, 3, 2, 1)]
        )
        self.middle = _TimeBlock(2 * width, 2 * width, 4 * width)
        self.attention = _Attention(2 * width)
        self.up = nn.ModuleList(
            [_TimeBlock(4 * width, 2 * width, 4 * width), _TimeBlock(3 * width, width, 4 * width)]
        )
        self.norm, self.head = nn.GroupNorm(8, width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, times: Tensor) -> dict[str, Tensor]:
        angles = times[:, None].to(x.dtype) * torch.exp(-torch.arange(16, device=x.device, dtype=x.dtype) / 4)
        t = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        x = self.stem(x)
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, t)
            skips.append(x)
            x = shrink(x)
        x = self.attention(self.middle(x, t))
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], 1), t)
        return {"sample": self.head(F.silu(self.norm(x)))}


class _TimeBlock(nn.Module):
    def __init__(self, i: int, o: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, i), nn.Conv2d(i, o, 3, padding=1)
        self.time = nn.Linear(time, o)
        self.norm2, self.conv2 = nn.GroupNorm(8, o), nn.Conv2d(o, o, 3, padding=1)
        self.skip = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(t))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.skip(x)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = nn.GroupNorm(8, width), nn.Conv1d(width, 3 * width, 1)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x).flatten(2)).chunk(3, 1)
        q, k, v = (one.reshape(n, self.heads, -1, h * w).transpose(2, 3) for one in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, -1, h * w)
        return x + self.out(mixed).reshape(n, c, h, w)


class WaveNet(nn.Module):
    """Dilated causal convolutions with gates, weight-normalised, residuals and skips summed."""

    def __init__(self, width: int = 32, layers: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(
            weight_norm(nn.Conv1d(width, 2 * width, 2, dilation=2**i)) for i in range(layers)
        )
        self.back = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.skip = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in range(layers))
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(2 * width, 2 * width, 1), nn.ReLU(), nn.Conv1d(2 * width, 64, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        total = torch.zeros((), device=x.device, dtype=x.dtype)
        for gate, back, skip in zip(self.gates, self.back, self.skip, strict=True):
            signal, opening = gate(F.pad(x, (gate.dilation[0], 0))).chunk(2, 1)
            h = signal.tanh() * opening.sigmoid()
            total = total + skip(h)
            x = x + back(h)
        return self.head(total)


class CRNN(nn.Module):
    """Text in images: convolutions, two bidirectional LSTMs over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(*_double(3, 32), nn.MaxPool2d(2), *_double(32, 64), nn.MaxPool2d((2, 1)))
        self.last = nn.Sequential(nn.Conv2d(64, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU())
        self.rnn = nn.LSTM(96, 64, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(128, 37)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.last(self.convs(x)).mean(2).transpose(1, 2)
        return self.head(self.rnn(columns)[0]).log_softmax(-1)


class VAE(nn.Module):
    """Convolutional encoder and decoder around a drawn code."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 128),
            nn.ReLU(),
        )
        self.mean, self.spread = nn.Linear(128, 16), nn.Linear(128, 16)
        self.into = nn.Linear(16, 64 * 8 * 8)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (64, 8, 8)),
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code = self.encoder(x)
        mean, spread = self.mean(code), self.spread(code)
        drawn = mean + torch.randn_like(mean) * (spread / 2).exp()
        return self.decoder(self.into(drawn).relu()), mean, spread


class DCGAN(nn.Module):
    """The generator: transposed convolutions from a point."""

    def __init__(self, widths: tuple[int, ...] = (256, 128, 64, 32)) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.ConvTranspose2d(64, widths[0], 4, bias=False)]
        for i, o in itertools.pairwise(widths):
            parts += [nn.BatchNorm2d(i), nn.ReLU(True), nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False)]
        self.main = nn.Sequential(
            *parts,
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(True),
            nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, code: Tensor) -> Tensor:
        return self.main(code)


class YOLO(nn.Module):
    """Cross-stage blocks (chunk, concatenate), fast pyramid pooling, heads at three scales."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.stem = _cbs(3, w, 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(_cbs(i, o, 3, 2), _CrossStage(o, 2))
            for i, o in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w))
        )
        self.pool = _Pyramid(8 * w)
        self.up = nn.ModuleList([_CrossStage(12 * w, 1, 4 * w), _CrossStage(6 * w, 1, 2 * w)])
        self.heads = nn.ModuleList(nn.Conv2d(c * w, 3 * (5 + 10), 1) for c in (2, 4, 8))

    def forward(self, x: Tensor) -> list[Tensor]:
        a = self.stages[0](self.stem(x))
        b = self.stages[1](a)
        c = self.pool(self.stages[2](b))
        b = self.up[0](torch.cat([F.interpolate(c, scale_factor=2.0), b], 1))
        a = self.up[1](torch.cat([F.interpolate(b, scale_factor=2.0), a], 1))
        made = [head(level) for head, level in zip(self.heads, (a, b, c), strict=True)]
        return [m.view(m.shape[0], 3, 15, *m.shape[2:]).permute(0, 1, 3, 4, 2) for m in made]


def _cbs(i: int, o: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU(inplace=True)
    )


class _CrossStage(nn.Module):
    def __init__(self, i: int, depth: int, o: int | None = None) -> None:
        super().__init__()
        o = o or i
        self.into = _cbs(i, o)
        self.blocks = nn.ModuleList(
            nn.Sequential(_cbs(o // 2, o // 2, 3), _cbs(o // 2, o // 2, 3)) for _ in range(depth)
        )
        self.out = _cbs((2 + depth) * (o // 2), o)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.into(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.out(torch.cat(parts, 1))


class _Pyramid(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = _cbs(width, width // 2), _cbs(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.into(x)]
        for _ in range(3):
            levels.append(F.max_pool2d(levels[-1], 5, 1, 2))
        return self.out(torch.cat(levels, 1))


OWN: dict[str, tuple[type[nn.Module], tuple[Any, ...]]] = {
    "unet": (UNet, (torch.randn(1, 3, 64, 64),)),
    "diffusion-unet": (DiffusionUNet, (torch.randn(1, 3, 32, 32), torch.tensor([500]))),
    "wavenet": (WaveNet, (torch.randn(1, 1, 256),)),
    "crnn": (CRNN, (torch.randn(1, 3, 32, 96),)),
    "vae": (VAE, (torch.randn(1, 3, 32, 32),)),
    "dcgan": (DCGAN, (torch.randn(1, 64, 1, 1),)),
    "yolo": (YOLO, (torch.randn(1, 3, 64, 64),)),
}
