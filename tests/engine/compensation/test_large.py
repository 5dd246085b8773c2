"""Layers with too many inputs for second moments of all pairs: bounded memory, and still a sensible order."""

from pathlib import Path

import pytest
import torch
from mending import images
from prune.engine.compensation import courses as module
from prune.engine.compensation.measuring import sensitivities
from prune.engine.errors import CriterionError
from prune.engine.events import unwatched
from prune.engine.graph.trace import trace
from prune.engine.selection.selection import prunable_groups
from torch import nn

SIZE = (3, 12, 12)


def flattening() -> nn.Module:
    """A classifier that reads every position of every channel; the fourth channel is never lit."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, padding=1)
    with torch.no_grad():
        assert conv.bias is not None
        conv.bias[3] = -100
    return nn.Sequential(
        conv, nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(600, 5)
    ).eval()


@pytest.mark.parametrize("measure", [False, True])
def test_a_layer_too_large_to_solve_is_scored_by_what_each_channel_gives_it(
    measure: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    model = flattening()
    traced = trace(model, SIZE)
    groups = prunable_groups(traced.map, "internal")
    exact = unwatched(sensitivities(model, traced.map, groups, [images(64, SIZE)], measure=measure))
    monkeypatch.setattr(module, "LARGEST_GRAM", 8 * 600 * 600 - 1)
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "nothing is remembered"))
    loose = unwatched(sensitivities(model, traced.map, groups, [images(64, SIZE)], measure=measure))
    assert loose[0] == exact[0]  # the convolution in between is solved as ever
    assert exact[0].order[0] == groups[0].channels[3]
    assert sorted(loose[1].order) == sorted(exact[1].order)
    # Nothing makes up for what leaves there: an error is that of leaving it out, and never smaller.
    assert loose[1].errors[0] > exact[1].errors[0]
    assert all(b >= a for a, b in zip(loose[1].errors, loose[1].errors[1:], strict=False))
    if measure:
        assert min(loose[1].measured.values()) > 0


def test_second_moments_are_gathered_in_passes_that_fit(monkeypatch: pytest.MonkeyPatch):
    model = flattening()
    traced = trace(model, SIZE)
    groups = prunable_groups(traced.map, "internal")
    at_once = unwatched(sensitivities(model, traced.map, groups, [images(64, SIZE)]))
    monkeypatch.setattr(module, "AT_ONCE", 1)
    assert unwatched(sensitivities(model, traced.map, groups, [images(64, SIZE)])) == at_once


def test_activations_that_overflow_are_refused_by_the_layer_that_reads_them():
    model = flattening()
    with torch.no_grad():
        model[0].weight.mul_(torch.inf).nan_to_num_(posinf=3e38, neginf=-3e38)
    traced = trace(model, SIZE)
    groups = prunable_groups(traced.map, "internal")
    with pytest.raises(CriterionError, match="what '2' reads is not finite"):
        unwatched(sensitivities(model, traced.map, groups, [images(64, SIZE)]))
