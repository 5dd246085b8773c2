"""Blocks: where networks can be cut, and that training one brings it closer or leaves it."""

import copy
from itertools import pairwise

import pytest
import torch
from mending import images, mend
from prune.engine.compensation.block_fitting import fit_blocks, per_step
from prune.engine.compensation.blocks import blocks
from prune.engine.compensation.pairing import changed, exported
from prune.engine.compensation.program import Program
from prune.engine.events import unwatched
from prune.engine.modules.inputs import Inputs
from test_residual import SIZE, Residual
from torch import nn


class Chain(nn.Sequential):
    """No residual sums: every width differs, and pooling stands between."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 12, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 5),
        )


def found(mended):
    dense, thin = (
        Program(model, Inputs.of_images(SIZE).with_batch(8)) for model in (mended.dense, mended.thin)
    )
    gone = mended.cut.map.removal_mask(mended.cut.removed)
    return thin, blocks(dense, thin, mended.cut.map, gone, changed(dense, thin))


@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
def test_a_residual_network_is_cut_between_its_blocks(residual: str, randomise):
    mended = mend(randomise(Residual()), SIZE, images(64, SIZE), residual=residual)
    thin, cut = found(mended)
    ends = {block.layers[-1] for block in cut}
    assert {f"blocks.{n}.conv2.conv" for n in range(3)} <= ends
    assert all(thin.place.get(a.end, -1) <= thin.place.get(b.start, -1) for a, b in pairwise(cut))
    layers = [name for block in cut for name in block.layers]
    assert len(set(layers)) == len(layers)
    assert "fc" not in layers  # what ends in the logits is no block


def test_a_chain_is_cut_layer_by_layer_and_knows_what_is_left():
    mended = mend(Chain().eval(), SIZE, images(64, SIZE))
    _, cut = found(mended)
    assert [block.layers for block in cut] == [("0",), ("4",)]
    for block, conv in zip(cut, ("0", "4"), strict=True):
        kept = mended.cut.map.kept(conv, mended.cut.removed)
        assert block.kept.tolist() == kept.tolist()


@pytest.mark.parametrize("net", [Residual, Chain])
def test_every_block_comes_closer_or_stays(net, randomise):
    mended = mend(randomise(net()), SIZE, images(256, SIZE))
    before = copy.deepcopy(mended.thin.state_dict())
    cut, seen = mended.cut, [images(256, SIZE)]
    fitted = unwatched(fit_blocks(mended.dense, mended.thin, cut.map, cut.removed, seen, steps=60))
    assert all(block.after <= block.before for block in fitted)
    assert any(block.after < 0.95 * block.before for block in fitted)
    state = mended.thin.state_dict()
    for name in state:  # statistics and what no block holds stay
        same = torch.equal(state[name], before[name])
        assert same or any(name.startswith(layer.rpartition(".")[0]) for b in fitted for layer in b.layers)
        assert same or "running" not in name
    # The classifier is the last: solved again where it reads fewer channels, and else left.
    assert torch.equal(state[name], before[name]) == (net is Residual)
    fresh = images(64, SIZE, seed=1)
    fitted_error = mended.errors(fresh)[1]
    mended.thin.load_state_dict(before)
    assert fitted_error < mended.errors(fresh)[1]


def test_what_does_not_help_is_undone(monkeypatch: pytest.MonkeyPatch, randomise):
    from prune.engine.compensation import block_fitting

    mended = mend(randomise(Residual()), SIZE, images(128, SIZE))
    before = copy.deepcopy(mended.thin.state_dict())
    monkeypatch.setattr(block_fitting, "RATE", 30.0)
    fitted = unwatched(
        fit_blocks(
            mended.dense, mended.thin, mended.cut.map, mended.cut.removed, [images(128, SIZE)], steps=3
        )
    )
    assert all(block.after == block.before for block in fitted)
    assert all(torch.equal(tensor, before[name]) for name, tensor in mended.thin.state_dict().items())


@pytest.mark.parametrize(("size", "count"), [(16, 64), (32, 64), (64, 16), (224, 8), (2000, 8)])
def test_large_images_are_looked_at_fewer_at_a_time(size: int, count: int):
    assert per_step((size, size)) == count


def test_fewer_images_a_step_than_layers_were_solved_on():
    size = (3, 96, 96)
    mended = mend(Chain().eval(), size, images(16, size))
    cut, seen = mended.cut, [images(16, size)]
    programs = exported(mended.dense, mended.thin, seen[0])  # of 16 at once; a step takes 8
    fitted = unwatched(
        fit_blocks(mended.dense, mended.thin, cut.map, cut.removed, seen, steps=20, programs=programs)
    )
    assert any(block.after < block.before for block in fitted)


def test_memory_bounds_how_many_images_are_looked_at(randomise):
    mended = mend(randomise(Residual()), SIZE, images(128, SIZE))
    cut, seen = mended.cut, [images(128, SIZE)]
    work = fit_blocks(mended.dense, mended.thin, cut.map, cut.removed, seen, steps=5, memory=1)
    state = {name: tensor.clone() for name, tensor in mended.thin.state_dict().items()}
    unwatched(work)
    some = mended.thin.state_dict()
    mended.thin.load_state_dict(state)
    unwatched(fit_blocks(mended.dense, mended.thin, cut.map, cut.removed, [seen[0][:64]], steps=5))
    assert all(torch.equal(tensor, some[name]) for name, tensor in mended.thin.state_dict().items())
