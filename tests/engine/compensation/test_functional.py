"""Graphs without operations in place: as torch.export's own passes make them, though not by these."""

from collections.abc import Callable, Iterator
from typing import Any

import mini_networks
import pytest
import torch
from prune.engine.compensation import functional as module
from prune.engine.compensation.functional import functional
from prune.engine.compensation.program import Program
from prune.engine.graph.exporting import followed_with_ease
from prune.engine.modules.inputs import Inputs
from soaked import often
from torch import Tensor, fx, nn
from torch.export import ExportedProgram, export
from torch.fx.node import map_arg
from torch.nn import functional as F

SIZE = mini_networks.SIZE
aten = torch.ops.aten
# One for each thing that is done, or left to torch.export; the others differ in what is around it.
KINDS = ("Plain", "InPlaceAdd", "InPlaceOnView", "EqualChunk", "ViewedGate", "Flatten7x7", "ChannelShuffle")
KINDS += ("ShuffledGroups", "Selection", "CopiedInto", "LookedUp", "Recurrent", "Spectrum")


def operations_of(model: nn.Module, how: Callable[[ExportedProgram], ExportedProgram]) -> list[Any]:
    """What is computed once a network was exported, and changed."""
    with followed_with_ease(model):
        return list(operations(how(export(model.eval(), (torch.zeros(4, *SIZE),), strict=False))))


def operations(program: ExportedProgram) -> Iterator[tuple[str, Any]]:
    """What is computed of what, numbered as it is made; where it enters it has a name."""
    known: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            known[node] = node.name
        else:
            known[node] = len(known)
            given = map_arg((node.args, node.kwargs), known.__getitem__)
            yield str(node.target), node.meta["val"].shape if node.target is aten.view.default else given


@pytest.mark.parametrize("name", often(mini_networks.NAMED, but={*mini_networks.NAMED} - {*KINDS}))
def test_it_is_what_torch_export_makes_of_it(name: str):
    model = mini_networks.build(name)
    theirs = operations_of(model, lambda exported: exported.run_decompositions({}))
    assert operations_of(model, functional) == theirs


class Sequel(nn.Module):
    """A convolution, and what a test does with its output."""

    def __init__(self, then: Any):
        super().__init__()
        self.conv, self.norm, self.then = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.norm(self.conv(x)))


def read_by_its_old_name(x: Tensor) -> Tensor:
    y = F.relu(x, inplace=True)
    return x + y.mul_(2) + x


def dropped_in_place(x: Tensor) -> Tensor:
    return F.relu(F.dropout(x, 0.5, False, inplace=True), inplace=True)


def viewed_afterwards(x: Tensor) -> Tensor:
    return F.silu(x, inplace=True).flatten(1)


def viewed_before(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return flat + F.relu(x, inplace=True).sum()


def a_part_of_it(x: Tensor) -> Tensor:
    first, _ = x.chunk(2, dim=1)
    first.add_(3)
    return x


def of_two_kinds(x: Tensor) -> Tensor:
    return x.add_(torch.ones(1, dtype=torch.float64))


def two_norms(x: Tensor) -> Tensor:
    return F.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3)), training=True)


def laid_out_anew(x: Tensor) -> Tensor:
    return (
        F.relu(x.swapaxes(1, 2).flatten(2), inplace=True) + x.transpose(1, 3).contiguous().flatten(2).mean()
    )


def swapped_before(x: Tensor) -> Tensor:
    swapped = x.swapaxes(1, 2)
    return swapped + F.relu(x, inplace=True).mean()


def dropped_by_channel(x: Tensor) -> Tensor:
    return F.dropout2d(x, 0.5, training=False).exp() + F.dropout(x, 0.5, training=False)


BY_US = (read_by_its_old_name, viewed_afterwards, laid_out_anew, dropped_by_channel)
BY_TORCH = (dropped_in_place, viewed_before, a_part_of_it, of_two_kinds, two_norms, swapped_before)


@pytest.mark.parametrize("then", [*BY_US, *BY_TORCH])
def test_memory_that_is_shared_is_followed(then: Any, monkeypatch: pytest.MonkeyPatch):
    left = list[bool]()
    asked = module._is_simple
    monkeypatch.setattr(module, "_is_simple", lambda nodes: left.append(asked(nodes)) or left[-1])
    model = Sequel(then).eval()
    program = Program(model, Inputs.of_images(SIZE).with_batch(4))
    assert left == [then in BY_US]
    x = torch.randn(4, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = program.fed(x.clone())
        for node in program.nodes:
            values[node] = program.compute(node, values)
        (made,) = program.outputs
        assert torch.allclose(values[made], model(x.clone()), atol=1e-6)


def test_what_a_network_does_to_its_input_is_left_to_torch():
    class Shifts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.add_(1) * 2

    assert not any("add_" in what for what, _ in operations_of(Shifts(), functional))
