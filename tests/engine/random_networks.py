"""Networks drawn at random: any ops that channels are followed through, put together in any way that fits.

A network is its *steps*: the op, the values it reads and its settings. Values are feature maps, number 0 the
image. Biases are random and different, so that a filter is known by its bias wherever it stands.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

SIZE = (3, 8, 8)
CLASSES = 3
WIDEST, LARGEST = 24, 16  # channels and pixels a side that a feature map may grow to

Shape = tuple[int, int, int]  # C, H, W
Step = tuple[str, tuple[int, ...], tuple[Any, ...]]
Steps = tuple[Step, ...]


class Op(nn.Module):
    """A function of tensors as a module, for those that need no weights."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.run(*tensors)


class Chain(nn.Sequential):
    """A block of modules."""


class Gate(nn.Module):
    """Squeeze and excitation: channels are multiplied by what their means say."""

    def __init__(self, width: int, middle: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, middle, 1), nn.Conv2d(middle, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Scaled(nn.Module):
    """A scale and an offset per channel that are bare parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Perceptron(nn.Module):
    """Two linear layers over the channels of every pixel."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(F.gelu(self.into(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


def shuffled(groups: int) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    return run


def halves(how: str) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return {
            "gate": a * b.sigmoid(),
            "swap": torch.cat([b, a], 1),
            "max": torch.maximum(a, b),
            "first": a,
        }[how]

    return run


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "leaky": F.leaky_relu,
    "clamp": lambda x: x.clamp(-1, 1),
    "square": lambda x: x * x,
    "softplus": F.softplus,
}
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda x: F.max_pool2d(x, 2),
    "mean": lambda x: F.avg_pool2d(x, 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2)),
}
MIXERS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(1),
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(1, 1),
    "literal": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
}

# Name of an op -> what makes its module of the settings.
MAKE: dict[str, Callable[..., nn.Module]] = {
    "conv": lambda c, out, kernel, stride, groups: nn.Conv2d(
        c, out, kernel, stride, kernel // 2, groups=groups
    ),
    "depthwise": lambda c, times: nn.Conv2d(c, c * times, 3, padding=1, groups=c),
    "block": lambda c, out: Chain(nn.Conv2d(c, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()),
    "transposed": lambda c, out: nn.ConvTranspose2d(c, out, 2, 2),
    "norm": nn.BatchNorm2d,
    "group norm": nn.GroupNorm,
    "instance norm": lambda c: nn.InstanceNorm2d(c, affine=True),
    "slopes": nn.PReLU,
    "gated": Gate,
    "scaled": Scaled,
    "perceptron": Perceptron,
    "activation": lambda name: Op(ACTIVATIONS[name]),
    "pool": lambda name: Op(POOLS[name]),
    "mix": lambda name: Op(MIXERS[name]),
    "shuffle": lambda groups: Op(shuffled(groups)),
    "halves": lambda how: Op(halves(how)),
    "interpolate": lambda mode: Op(lambda x: F.interpolate(x, scale_factor=2, mode=mode)),
    "pixel shuffle": lambda: nn.PixelShuffle(2),
    "pixel unshuffle": lambda: nn.PixelUnshuffle(2),
    "pad": lambda sides: Op(lambda x: F.pad(x, sides)),
    "cat": lambda: Op(lambda *xs: torch.cat(xs, 1)),
    "add": lambda: Op(torch.add),
    "mul": lambda: Op(torch.mul),
    "again": lambda step: nn.Identity(),  # the module of an earlier step once more
}


class RandomNetwork(nn.Module):
    """The network that steps describe, with random weights."""

    def __init__(self, steps: Steps, features: int, head: str) -> None:
        super().__init__()
        self.steps, self.head = steps, head
        self.ops = nn.ModuleList(MAKE[op](*settings) for op, _, settings in steps)
        self.fc = nn.Linear(features, CLASSES)

    def forward(self, image: Tensor) -> Any:
        values = [image]
        for number, (op, reads, settings) in enumerate(self.steps):
            module = self.ops[settings[0] if op == "again" else number]
            values.append(module(*(values[i] for i in reads)))
        last = values[-1]
        logits = self.fc(last.flatten(1) if self.head == "flatten" else last.mean((2, 3)))
        return {"logits": logits, "maps": (values[len(values) // 2],)} if self.head == "several" else logits


def build(steps: Steps, features: int, head: str, seed: int = 0) -> RandomNetwork:
    """The network in evaluation mode; no two biases are equal, and nothing is at its neutral value."""
    torch.manual_seed(seed)
    network = RandomNetwork(steps, features, head)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -0.5, 0.5)
        elif parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return network.eval()


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


@st.composite
def networks(draw: st.DrawFn, most_steps: int = 9) -> tuple[Steps, int, str]:
    """Steps, features of the classifier and kind of head."""
    shapes: list[Shape] = [SIZE]
    steps: list[Step] = []

    def add(op: str, reads: tuple[int, ...], settings: tuple[Any, ...], shape: Shape) -> None:
        steps.append((op, reads, settings))
        shapes.append(shape)

    add("block", (0,), (3, width := draw(st.integers(2, 8))), (width, *SIZE[1:]))
    for _ in range(draw(st.integers(1, most_steps))):
        _next(draw, steps, shapes, add)
    c, h, w = shapes[-1]
    head = draw(st.sampled_from(["pool", "flatten", "several"]))
    return tuple(steps), c * h * w if head == "flatten" else c, head


def _next(draw: st.DrawFn, steps: list[Step], shapes: list[Shape], add: Callable[..., None]) -> None:
    """One more step, of those that fit; it reads the last value, or an earlier one."""
    x = len(shapes) - 1 - draw(st.sampled_from([0, 0, 0, 1, 2]))
    x = max(1, x)
    c, h, w = shapes[x]
    alike = [i for i in range(1, len(shapes)) if shapes[i] == shapes[x] and i != x]
    beside = [i for i in range(1, len(shapes)) if shapes[i][1:] == (h, w) and shapes[i][0] + c <= WIDEST]
    again = [
        n for n, (op, reads, _) in enumerate(steps)
        if op in ("conv", "block", "depthwise", "norm") and shapes[reads[0]] == shapes[x]
    ]  # fmt: skip
    fits = ["conv", "conv", "block", "depthwise", "norm", "activation", "scaled", "slopes", "gated", "mix"]
    fits += ["perceptron", "pad"]
    fits += ["group norm", "instance norm"] * (h * w > 1)  # torch itself norms no single number
    fits += ["add", "add", "mul"] * bool(alike) + ["cat", "cat"] * bool(beside) + ["again"] * bool(again)
    fits += ["pool", "pixel unshuffle"] * (h % 2 == 0 and w % 2 == 0 and h > 2 and 4 * c <= WIDEST)
    fits += ["interpolate", "transposed"] * (2 * max(h, w) <= LARGEST)
    fits += ["pixel shuffle"] * (c % 4 == 0 and 2 * max(h, w) <= LARGEST)
    fits += ["halves", "shuffle"] * (c % 2 == 0)
    op = draw(st.sampled_from(fits))
    out = draw(st.integers(1, 8)) if op in ("conv", "block", "transposed", "perceptron", "gated") else c
    match op:
        case "conv":
            groups = draw(st.sampled_from(_divisors(math.gcd(c, out))))
            kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 1, 2]))
            made = [(n + 2 * (kernel // 2) - kernel) // stride + 1 for n in (h, w)]
            add(op, (x,), (c, out, kernel, stride, groups), (out, *made))
        case "block":
            add(op, (x,), (c, out), (out, h, w))
        case "depthwise":
            times = draw(st.sampled_from([1, 1, 2])) if 2 * c <= WIDEST else 1
            add(op, (x,), (c, times), (c * times, h, w))
        case "transposed":
            add(op, (x,), (c, out), (out, 2 * h, 2 * w))
        case "norm" | "instance norm" | "slopes" | "scaled":
            add(op, (x,), (c,), shapes[x])
        case "group norm":
            add(op, (x,), (draw(st.sampled_from(_divisors(c))), c), shapes[x])
        case "gated" | "perceptron":
            add(op, (x,), (c, out), shapes[x])
        case "activation":
            add(op, (x,), (draw(st.sampled_from(sorted(ACTIVATIONS))),), shapes[x])
        case "mix":
            add(op, (x,), (draw(st.sampled_from(sorted(MIXERS))),), shapes[x])
        case "pool":
            add(op, (x,), (draw(st.sampled_from(sorted(POOLS))),), (c, h // 2, w // 2))
        case "shuffle":
            add(op, (x,), (draw(st.sampled_from(_divisors(c))),), shapes[x])
        case "halves":
            how = draw(st.sampled_from(["gate", "swap", "max", "first"]))
            add(op, (x,), (how,), (c if how == "swap" else c // 2, h, w))
        case "interpolate":
            add(op, (x,), (draw(st.sampled_from(["nearest", "bilinear"])),), (c, 2 * h, 2 * w))
        case "pixel shuffle":
            add(op, (x,), (), (c // 4, 2 * h, 2 * w))
        case "pixel unshuffle":
            add(op, (x,), (), (4 * c, h // 2, w // 2))
        case "pad":
            spatial = draw(st.booleans()) or c >= WIDEST
            sides = (1, 0, 0, 1) if spatial else (0, 0, 0, 0, 1, 2)
            add(op, (x,), (sides,), (c, h + 1, w + 1) if spatial else (c + 3, h, w))
        case "cat":
            other = draw(st.sampled_from(beside))
            add(op, (other, x), (), (c + shapes[other][0], h, w))
        case "add" | "mul":
            add(op, (draw(st.sampled_from(alike)), x), (), shapes[x])
        case "again":
            first = draw(st.sampled_from(again))
            add(op, (x,), (first,), shapes[first + 1])


last: tuple[Steps, int, str] = ((), 0, "pool")  # what `drawn` makes


def drawn(num_classes: int) -> RandomNetwork:
    """A factory as users write it in `module:factory`; of the network that was drawn last."""
    return build(*last, seed=1)
