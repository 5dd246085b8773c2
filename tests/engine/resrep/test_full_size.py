"""Networks at their full width, from insertion to folding: a few steps of training, masks, no loss."""

import copy

import pytest
import torch
import torch.nn.functional as F
from prune.engine.compactors.folding import fold
from prune.engine.compactors.sites import insert, targets
from prune.engine.graph.cost import Counter, count
from prune.engine.graph.trace import trace
from prune.engine.masking.resetting import ResettingGradients
from prune.engine.masking.rule import MaskRule
from prune.engine.network.fresh import new_network
from prune.engine.schedules.gradient_resetting import GradientResetting
from prune.engine.training.optimizer import build_sgd

STEPS = 4


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("small_networks:mobilenet_v1", 32),
        # Without depthwise convolutions there is less to fold; and with more blocks.
        pytest.param("small_networks:bottleneck", 32, marks=pytest.mark.soak),
        pytest.param("resnet50", 32, marks=pytest.mark.soak),
        pytest.param("mobilenet_v1", 64, marks=pytest.mark.soak),
    ],
)
def test_insert_train_mask_and_fold(name, side, randomise):
    size = (3, side, side)
    network = new_network(name, num_classes=10, input_size=size)
    model = randomise(network.model)
    traced = trace(model, size)
    sites = insert(model, targets(copy.deepcopy(model), traced))
    compactors = [site.compactor for site in sites]
    counter = Counter(traced.map)
    pinned = [channel for site in sites for channel in site.group.pinned]
    rule = MaskRule(
        [site.row_ids for site in sites],
        lambda ids: counter.totals(ids)[0],
        target=0.471,
        granularity=400,
        pinned=pinned,
    )
    schedule = GradientResetting(lasso=1e-3, mask_after=0, mask_interval=1)
    hooks = ResettingGradients(compactors, rule, schedule, steps_per_epoch=STEPS)
    optimizer = build_sgd(model, rule="resrep", momentum=0.9, weight_decay=1e-4)

    generator = torch.Generator().manual_seed(0)
    model.train()
    for step in range(STEPS):
        images_NCHW = torch.randn(4, *size, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(images_NCHW), torch.arange(4)).backward()
        hooks.after_backward(step)
        optimizer.step()
        masked = hooks.after_step(step)
    assert masked is not None
    assert masked.macs_share < 0.9
    model.eval()
    with torch.no_grad():  # what a long training ends in: masked rows are gone
        for compactor in compactors:
            compactor.pwc.weight.mul_(compactor.mask[:, None, None, None])

    folded = fold(model, size)
    assert folded.error < 1e-5
    assert count(trace(folded.model, size).map).macs == masked.macs
    images_NCHW = torch.randn(2, *size, generator=generator).double()
    with torch.no_grad():
        expected_NK = copy.deepcopy(model).double()(images_NCHW)
        found_NK = folded.model.double()(images_NCHW)
    largest = float(expected_NK.abs().max())
    torch.testing.assert_close(found_NK, expected_NK, rtol=0, atol=1e-5 * largest)
