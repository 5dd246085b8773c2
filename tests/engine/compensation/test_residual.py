"""Branches that end in sums: every residual mode, what a branch is fitted to, and who mends a shared sum."""

import pytest
import torch
from mending import images, mend, share_of_channels
from prune.archs.resnet_cifar import Block
from prune.engine.compensation.paths import others_at_end, path_of
from prune.engine.compensation.program import Program
from prune.engine.compensation.streams import Stream
from prune.engine.graph.residual import parted, view
from prune.engine.graph.trace import trace
from prune.engine.modules.inputs import Inputs
from prune.engine.narrowing.narrowing import narrow_proven
from torch import Tensor, nn

SIZE = (3, 12, 12)


class Residual(nn.Module):
    """Our own blocks, a padding shortcut among them, and a projection that is added with `+`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1))
        self.body = nn.Sequential(
            nn.Conv2d(16, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 1)
        )
        self.project = nn.Sequential(nn.Conv2d(16, 24, 3, bias=False), nn.BatchNorm2d(24))
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x).relu())
        return self.fc((self.body(x) + self.project(x)).relu().mean((2, 3)))


@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
def test_every_residual_mode_is_mended(residual: str, randomise):
    mended = mend(randomise(Residual()), SIZE, images(256, SIZE), residual=residual)
    sliced, better = mended.errors(images(64, SIZE, seed=1))
    assert better < 0.7 * sliced
    assert {layer.form for layer in mended.report.layers} == {"least squares"}
    names = {layer.layer for layer in mended.report.layers}
    assert {"blocks.2.conv2.conv", "body.3", "project.0"} <= names
    assert ("fc" in names) == (residual == "coupled")  # else its inputs are all there
    state = mended.cut.model.state_dict()
    assert {n: t.shape for n, t in mended.thin.state_dict().items()} == {n: t.shape for n, t in state.items()}


def test_a_stream_that_a_shortcut_crops_is_mended(randomise):
    model = Residual()
    model.blocks[0] = Block(8, 8, 1, first=True)
    apart = parted(randomise(model), SIZE)
    mended = mend(apart, SIZE, images(256, SIZE), residual="coupled")
    index = mended.thin.get_buffer("blocks.0.shortcut.index")
    assert len(index) == 4
    assert not torch.equal(index, torch.arange(4))
    sliced, better = mended.errors(images(64, SIZE, seed=1))
    assert better < 0.7 * sliced
    assert {layer.form for layer in mended.report.layers} == {"least squares"}


def test_a_path_ends_with_the_sum_and_knows_where_its_channels_are(randomise):
    model = randomise(Residual())
    seen = view(model, trace(model, SIZE), SIZE, "scatter")
    cut = narrow_proven(seen.model, seen.traced, SIZE, share_of_channels(0.5), finish=seen.close)
    program = Program(cut.model, Inputs.of_images(SIZE).with_batch(2))
    calls = {call.layer: call for call in program.calls}
    path = path_of(program, calls["blocks.0.conv2.conv"], 4)
    assert path.norm is not None
    assert path.norm.name == "blocks.0.conv2.bn"
    assert path.sums == 1
    assert path.places.tolist() == cut.model.blocks[0].merge.index.tolist()
    lone = path_of(program, calls["blocks.0.conv1.conv"], len(cut.model.blocks[0].conv1.conv.weight))
    assert lone.end is lone.own

    # What the others add, plus what the layer itself adds at its places, is the sum.
    x = images(2, SIZE)
    ends = [path.own, path.end, *(s for node, at in path.steps for s in program.reads(node) if s is not at)]
    values = Stream(program, [x], keep=ends)
    (total,), (own,) = values.at(path.end), values.at(path.own)
    (others,) = others_at_end(program, path, values.at)
    torch.testing.assert_close(others.index_add(1, path.places, own), total)


def test_two_branches_of_one_sum_share_it(randomise):
    """The one that comes first mends the sum; the other is fitted to its own outputs."""
    model = randomise(Residual())
    report = mend(model, SIZE, images(256, SIZE)).report
    order = [layer.layer for layer in report.layers]
    assert order.index("project.0") < order.index("body.3")  # it has to be there before the sum is shared
