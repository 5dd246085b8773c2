"""Recalibrated batch norms against statistics computed directly."""

import pytest
import torch
from prune.engine.errors import DataError
from prune.engine.measure.recalibrate import recalibrate
from torch import nn


def test_statistics_are_averages_over_batches(net, blobs):
    model = net().train()
    model[1].momentum, model[5].momentum = 0.1, None
    model[1].eval()
    batches = list(blobs().batches("train", 64))
    assert len(batches[-1][0]) == 8, "batches of different sizes weigh alike"
    model[1].running_mean.fill_(7.0)
    model[1].num_batches_tracked.fill_(100)

    assert recalibrate(model, iter(batches)) == 2

    with torch.no_grad():
        first = [model[0](images_NCHW) for images_NCHW, _ in batches]
        normalised = [
            (x - x.mean((0, 2, 3), True)) / (x.var((0, 2, 3), False, True) + 1e-5).sqrt() for x in first
        ]
        second = [model[4](x.relu()) for x in normalised]  # the affine part is trivial, dropout is off
    for norm, inputs in ((model[1], first), (model[5], second)):
        means = torch.stack([x.transpose(0, 1).flatten(1).mean(1) for x in inputs])
        variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs])
        torch.testing.assert_close(norm.running_mean, means.mean(0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(norm.running_var, variances.mean(0), rtol=1e-4, atol=1e-6)
        assert norm.num_batches_tracked == len(batches)
    assert (model[1].momentum, model[5].momentum) == (0.1, None)
    assert [module.training for module in model] == [i != 1 for i in range(len(model))]


def test_without_batch_norm_no_image_is_looked_at():
    def explosive():
        raise AssertionError("looked at")
        yield

    assert recalibrate(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), explosive()) == 0


def test_without_images_the_statistics_stay(net):
    model = net()
    model[1].running_mean.fill_(7.0)
    with pytest.raises(DataError, match="no images to recalibrate"):
        recalibrate(model, [])
    assert (model[1].running_mean == 7.0).all()
    assert model[1].momentum == 0.1
