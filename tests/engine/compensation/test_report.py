"""What is said about layers that could not be fitted as they should, and what is done instead."""

import copy

import pytest
import torch
from mending import images, share_of_channels
from prune.engine.compensation.compensate import compensate
from prune.engine.compensation.fitting import Settings
from prune.engine.compensation.report import Refit, Report
from prune.engine.events import LayerRefitted, unwatched
from prune.engine.graph.trace import trace
from prune.engine.narrowing.narrowing import Proven, narrow_proven
from test_residual import SIZE, Residual
from torch import nn


@pytest.fixture
def cut(randomise) -> tuple[nn.Module, Proven]:
    model = randomise(Residual())
    return model, narrow_proven(model, trace(model, SIZE), SIZE, share_of_channels(0.5))


def errors(model: nn.Module, *others: nn.Module) -> list[float]:
    held = images(64, SIZE, seed=1)
    with torch.no_grad():
        return [float((other(held) - model(held)).square().mean()) for other in others]


def test_layers_too_large_get_one_scale_per_channel(cut):
    model, narrow = cut
    thin = copy.deepcopy(narrow.model)
    report = unwatched(
        compensate(
            model, thin, narrow.map, narrow.removed, [images(128, SIZE)], Settings(largest_gram=8 * 50**2)
        )
    )
    forms = {layer.layer: layer.form for layer in report.layers}
    assert forms["blocks.0.conv2.conv"] == "least squares"  # 4 x 9 inputs
    assert forms["blocks.1.conv2.conv"] == "per-channel scale"  # 8 x 9
    assert any("one scale per channel: " in note and "blocks.1.conv2.conv" in note for note in report.notes)
    assert all(layer.after <= layer.before + 1e-9 for layer in report.layers)
    sliced, mended = errors(model, narrow.model, thin)
    assert mended < sliced


def test_no_more_images_than_memory_holds(cut):
    model, narrow = cut
    work = compensate(
        model, narrow.model, narrow.map, narrow.removed, [images(256, SIZE)], Settings(memory=1)
    )
    events: list[LayerRefitted] = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            report = end.value
            break
    assert report.images == 64
    assert "64 of 256 images were looked at: memory holds no more" in report.notes
    assert [event.done for event in events] == list(range(1, events[-1].layers + 1))
    assert [event.layer for event in events] == [layer.layer for layer in report.layers]


def test_few_positions_are_said_with_the_number_that_would_do():
    few = Refit("deep", "least squares", 0.5, 0.1, positions=640, unknowns=576)
    enough = Refit("wide", "least squares", 0.5, 0.1, positions=6400, unknowns=72)
    (note,) = Report((few, enough), images=10).notes
    assert note == "10 images are few to fit 1 of 2 layers, most of all deep; 90 would do"
    assert Report((enough,), images=10).notes == ()
    left = Refit("odd", "left", reason="which outputs are left is not known")
    assert Report((left, enough), 10).notes == ("left as sliced, which outputs are left is not known: odd",)
