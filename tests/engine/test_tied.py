"""What shares a fate, and nothing else: the channels that rules tie, the streams that sums make."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from prune.engine.graph.trace import trace

sys.path.insert(0, str(Path(__file__).parent))
mini_networks = importlib.import_module("mini_networks")

# Network, layer -> how many channels of the layer can be chosen one by one.
CHOICES = {
    ("GroupNorms", "one.0"): 8,  # groups of four
    ("GroupNorms", "wide.0"): 3,
    ("GroupNormOfConcat", "a"): 3,  # groups of four, the third reaches over the seam
    ("GroupNormOfOnes", "stem.0"): 16,
    ("Generator", "one"): 6,  # 24 filters in four groups
    ("Gates", "gate"): 16,  # halves of 32
    ("Maxout", "apart"): 16,  # three maps of 16
    ("SubPixel", "wide"): 8,  # four pixels of each
    ("SelectedKernels", "up"): 16,
    ("SplitAndShuffle", "stem.0"): 8,
    ("TimedBlock", "first"): 6,
    ("InstanceNorms", "one"): 16,
}


@pytest.mark.parametrize(("name", "layer"), CHOICES)
def test_only_so_many_choices_are_left(name, layer):
    traced = trace(mini_networks.build(name), mini_networks.SIZE)
    ids = traced.map.layer(layer).out_ids
    assert len(set(ids.tolist())) == CHOICES[name, layer]
    assert not set(ids.tolist()) & traced.map.pinned.keys()


def test_a_condition_that_is_added_makes_no_stream():
    groups = trace(mini_networks.build("TimedBlock"), mini_networks.SIZE).map.groups
    assert {group.name: group.stream for group in groups if group.name in ("first", "stem.0")} == {
        "first": False,
        "stem.0": True,
    }


def test_weights_of_recurrent_layers_need_no_second_trace(monkeypatch):
    """They are used in evaluation, though no channel indexes all of them: nothing is traced in training."""
    from prune.engine.graph import trace as tracing

    modes = []
    export = tracing._export
    monkeypatch.setattr(
        tracing,
        "_export",
        lambda *given, training: modes.append(training) or export(*given, training=training),
    )
    trace(mini_networks.build("TextLines"), mini_networks.SIZE)
    assert modes == [False]


def test_a_group_of_filters_is_read_group_by_group():
    from prune.engine.graph.filters import filters_of

    model = mini_networks.build("Generator")
    layer = trace(model, mini_networks.SIZE).map.layer("one")
    filters_FCHW = filters_of(layer, model.one.weight)
    assert filters_FCHW.shape == (24, 4, 4, 4)
    x = torch.zeros(1, 16, 1, 1)
    x[0, 9] = 1  # the second channel of the third of four groups, which makes filters 12 to 17
    out = torch.nn.functional.conv_transpose2d(x, model.one.weight, groups=4)[0]
    assert torch.equal(out[12:18], filters_FCHW[12:18, 1])
