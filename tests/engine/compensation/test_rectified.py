"""Behind a ReLU only what it lets through has to be met, below zero anything below zero will do."""

import copy
from typing import Any

import pytest
import torch
from mending import images
from prune.engine.compensation import fitting
from prune.engine.compensation.compensate import compensate
from prune.engine.compensation.program import Program
from prune.engine.compensation.rectified import rectified, seen_through_relu
from prune.engine.events import unwatched
from prune.engine.graph.nodes import op_name
from prune.engine.graph.trace import trace
from prune.engine.modules.inputs import Inputs
from prune.engine.narrowing.narrowing import narrow_proven
from torch import Tensor, nn

SIZE = (3, 12, 12)


class Read(nn.Module):
    """A convolution, and whatever reads it."""

    def __init__(self, *readers: Any) -> None:
        super().__init__()
        self.conv, self.readers = nn.Conv2d(3, 4, 1), readers

    def forward(self, x: Tensor) -> list[Tensor]:
        made = self.conv(x)
        return [reader(made) for reader in self.readers]


@pytest.mark.parametrize(
    ("readers", "so"),
    [
        ([torch.relu], True),
        ([torch.relu_], True),
        ([nn.functional.relu6], True),
        ([lambda y: torch.relu(y.contiguous().clone()), torch.relu], True),
        ([lambda y: nn.functional.hardtanh(y, 0.0, 2.0)], True),
        ([lambda y: y.clamp(min=0), lambda y: y.clamp(0, 1)], True),
        ([lambda y: y.clamp(max=0)], False),
        ([nn.functional.hardtanh], False),
        ([lambda y: nn.functional.hardtanh(y, -2.0, 2.0)], False),
        ([torch.sigmoid], False),
        ([torch.relu, torch.neg], False),
        ([lambda y: y], False),
    ],
)
def test_which_outputs_are_seen_through_a_relu_alone(readers: list[Any], so: bool):
    program = Program(Read(*readers).eval(), Inputs.like((torch.zeros(2, *SIZE),)))
    conv = next(node for node in program.nodes if op_name(node) == "conv2d")
    assert rectified(program, conv) is so


def test_what_is_aimed_at():
    target, floor, made = torch.tensor(
        [
            [2.0, 0.0, -1.0],  # seen: met as it is
            [-3.0, 0.0, -1.0],  # unseen, and made so: left as it is made
            [-3.0, 0.0, 2.0],  # unseen, but made to be seen: cut off
            [-3.0, -4.0, -6.0],  # seen, as something else is added
            [1.0, 2.0, 5.0],
            [1.0, 2.0, -5.0],
        ]
    ).T
    assert seen_through_relu(target, floor, made).tolist() == [2.0, -1.0, 0.0, -3.0, 2.0, -5.0]


class Hidden(nn.Module):
    """Most of what `reader` makes is hidden by a ReLU; with `added`, of a sum."""

    def __init__(self, added: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.source, self.reader = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 12, 3, bias=not added)
        self.norm = nn.BatchNorm2d(12) if added else nn.Identity()
        self.beside = nn.Conv2d(3, 12, 3) if added else None
        self.head = nn.Linear(12, 5)
        with torch.no_grad():
            (self.norm if added else self.reader).bias -= 0.3

    def seen(self, x: Tensor) -> Tensor:
        made = self.norm(self.reader(self.source(x).relu()))
        return (made if self.beside is None else made + self.beside(x)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.seen(x).mean((2, 3)))


@pytest.mark.parametrize("added", [False, True])
def test_what_a_relu_lets_through_is_met_better(added: bool, monkeypatch: pytest.MonkeyPatch):
    model, held = Hidden(added).eval(), images(64, SIZE, seed=1)

    traced = trace(model, SIZE)
    removed = traced.map.layer("source").out_ids[::2].tolist()
    cut = narrow_proven(model, traced, SIZE, lambda _: removed)

    def error() -> float:
        thin = copy.deepcopy(cut.model)
        unwatched(compensate(model, thin, cut.map, cut.removed, [images(256, SIZE)]))
        with torch.no_grad():
            return float((thin.seen(held) - model.seen(held)).square().mean())

    mended = error()
    monkeypatch.setattr(fitting, "ROUNDS", 0)
    assert mended < 0.95 * error()
