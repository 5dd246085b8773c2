"""Steps of ResRep's training against the authors' recorded ones, and against the rule row by row."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from prune.archs import registry
from prune.archs.units import Compactor
from prune.engine.errors import TrainingError
from prune.engine.graph.channels import NO_ID
from prune.engine.masking.resetting import ResettingGradients, active_rows, reset_gradients, set_masks
from prune.engine.masking.rule import MaskRule
from prune.engine.modules.fit import fit
from prune.engine.modules.guests import COMPACTORS
from prune.engine.schedules.gradient_resetting import GradientResetting
from prune.engine.training.optimizer import build_sgd, set_rate

LASSO = 1e-4


@pytest.fixture(scope="module")
def recorded(shared_golden):
    with np.load(shared_golden / "authors" / "resrep_train_steps.npz") as file:
        return dict(file)


def after(recorded, prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in recorded.items() if key.startswith(prefix)}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-6)], ids=["float64", "float32"]
)
def test_three_steps_equal_the_authors(recorded, dtype: torch.dtype, tolerance: float):
    settings = json.loads(str(recorded["settings_json"]))
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in after(recorded, "init:").items()}
    model = registry.get("src20").build(10)
    COMPACTORS.place_stored(model, state)
    fit(model, state).to(dtype).train()
    compactors = list(COMPACTORS.placed(model).values())
    masked = settings["mask_zero_indices"].values()
    assert (active_rows(compactors) == 0).sum() == sum(map(len, masked)) > 0
    optimizer = build_sgd(
        model, rule="resrep", momentum=settings["momentum"], weight_decay=settings["weight_decay"]
    )
    set_rate(optimizer, settings["base_lr"])
    for step in range(1, settings["steps"] + 1):
        images_NCHW = torch.from_numpy(recorded["data"][step - 1]).to(dtype)
        loss = F.cross_entropy(model(images_NCHW), torch.from_numpy(recorded["labels"][step - 1]))
        optimizer.zero_grad()
        loss.backward()
        reset_gradients(compactors, settings["lasso_strength"])
        optimizer.step()
        expected, now = after(recorded, f"step{step}:f64:"), model.state_dict()
        assert len(expected) > 100
        for name, value in expected.items():
            assert np.abs(now[name].numpy() - value).max() <= tolerance, (step, name)


def compactors_with_gradients(*widths: int) -> list[Compactor]:
    generator = torch.Generator().manual_seed(3)
    compactors = [Compactor(width).double() for width in widths]
    for compactor in compactors:
        weight = compactor.pwc.weight
        weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        weight.grad = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        compactor.mask = (torch.arange(len(weight)) % 3 > 0).double()
    return compactors


def test_every_row_follows_the_rule_whatever_the_widths():
    compactors = compactors_with_gradients(4, 7, 4, 1)
    expected = []
    for compactor in compactors:
        weight, grad = compactor.pwc.weight.detach(), compactor.pwc.weight.grad
        for row in range(len(weight)):
            pull = LASSO * weight[row] / weight[row].square().sum().sqrt()
            expected.append(compactor.mask[row] * grad[row] + pull)
    reset_gradients(compactors, LASSO)
    rows = [row for compactor in compactors for row in compactor.pwc.weight.grad]
    for row, wanted in zip(rows, expected, strict=True):
        assert torch.allclose(row, wanted, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_of_zeros_and_tiny_ones(dtype: torch.dtype):
    """A row of zeros must not become NaN, nor one explode whose norm is too small for its type."""
    compactor = Compactor(4).to(dtype)
    with torch.no_grad():
        compactor.pwc.weight *= torch.tensor([0, 1e-30, 1e-9, 1], dtype=dtype)[:, None, None, None]
    compactor.mask.zero_()
    compactor.pwc.weight.grad = torch.ones_like(compactor.pwc.weight)
    reset_gradients([compactor], LASSO)
    expected = LASSO * torch.diag(torch.tensor([0, 1e-18, 1, 1], dtype=dtype))
    assert torch.allclose(compactor.pwc.weight.grad.flatten(1), expected, rtol=1e-6, atol=0)


def hooks_of_two(
    schedule: GradientResetting, steps_per_epoch: int
) -> tuple[ResettingGradients, list[Compactor]]:
    """Two compactors of four rows with norms 1..8; every channel costs one, and half are to stay."""
    compactors = [Compactor(4), Compactor(4)]
    for first, compactor in zip((1, 5), compactors, strict=True):
        compactor.pwc.weight.data *= torch.arange(first, first + 4.0)[:, None, None, None]
    rule = MaskRule(
        [np.arange(4), np.array([4, 5, 6, NO_ID])],
        lambda ids: 8 - len(ids),
        target=0.5,
        granularity=schedule.granularity,
    )
    return ResettingGradients(compactors, rule, schedule, steps_per_epoch), compactors


def test_masks_come_after_so_many_epochs_and_then_at_intervals():
    schedule = GradientResetting(mask_after=2, mask_interval=3, granularity=1)
    hooks, compactors = hooks_of_two(schedule, steps_per_epoch=5)
    said = {step: event for step in range(24) if (event := hooks.after_step(step)) is not None}
    assert list(said) == [9, 12, 15, 18, 21]
    assert [(event.epoch, event.step, event.steps) for event in said.values()] == [
        (2, 5, 5),
        (3, 3, 5),
        (4, 1, 5),
        (4, 4, 5),
        (5, 2, 5),
    ]
    assert [(event.masked, event.macs, event.macs_share) for event in said.values()] == [
        (1, 7, 7 / 8),
        (2, 6, 6 / 8),
        (3, 5, 5 / 8),
        (4, 4, 4 / 8),
        (4, 4, 4 / 8),
    ]
    assert [compactor.mask.tolist() for compactor in compactors] == [[0, 0, 0, 1], [0, 1, 1, 1]]


def test_masks_follow_the_norms_and_gradients_the_masks():
    hooks, (first, second) = hooks_of_two(GradientResetting(mask_after=0, mask_interval=1), 5)
    hooks.after_step(0)
    assert first.mask.tolist() == [0, 0, 0, 1]
    with torch.no_grad():
        first.pwc.weight *= 100
    for compactor in (first, second):
        compactor.pwc.weight.grad = torch.ones_like(compactor.pwc.weight)
    hooks.after_step(1)
    assert first.mask.tolist() == [0, 1, 1, 1]
    assert second.mask.tolist() == [0, 0, 0, 1]
    hooks.after_backward(2)
    assert (second.pwc.weight.grad.abs().amax((1, 2, 3)) > 0.5).tolist() == [False, False, False, True]


def test_setting_masks_keeps_the_buffers():
    """A checkpoint and an optimiser hold these very tensors."""
    compactors = [Compactor(2), Compactor(3)]
    buffers = [compactor.mask for compactor in compactors]
    set_masks(compactors, np.array([True, False, False, True, True]))
    assert [mask.tolist() for mask in buffers] == [[1, 0], [0, 1, 1]]
    assert active_rows(compactors).tolist() == [True, False, False, True, True]


@pytest.mark.parametrize(
    "wrong",
    [{"lasso": 0.0}, {"mask_after": -1}, {"mask_interval": 0}, {"granularity": 0}],
)
def test_settings_that_prune_nothing_are_refused(wrong: dict[str, float]):
    (name,) = wrong
    with pytest.raises(TrainingError, match=f"{name} is {wrong[name]}; it must be"):
        GradientResetting(**wrong)
