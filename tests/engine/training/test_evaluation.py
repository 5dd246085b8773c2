"""Accuracy against a naive count in NumPy."""

import math

import numpy as np
import pytest
import torch
from prune.engine.errors import DataError
from prune.engine.measure.evaluation import evaluate
from torch import nn


def by_hand(model, data, images=70):
    images_NCHW, labels_N = next(data.batches("test", images))
    with torch.no_grad():
        logits_NK = model.eval()(images_NCHW).double().numpy()
    labels = labels_N.numpy()
    top1 = top5 = loss = 0.0
    for logits_K, label in zip(logits_NK, labels, strict=True):
        ranking = list(np.argsort(-logits_K))
        top1 += ranking[0] == label
        top5 += label in ranking[:5]
        loss += math.log(sum(math.exp(logit) for logit in logits_K)) - logits_K[label]
    return [100 * top1 / len(labels), 100 * top5 / len(labels), loss / len(labels)]


@pytest.mark.parametrize("batch_size", [1, 16, 64, 70, 500])
def test_evaluate_equals_a_naive_count_at_any_batch_size(net, blobs, batch_size):
    model, data = net(), blobs()
    accuracy = evaluate(model, data, batch_size=batch_size)
    assert [accuracy.top1, accuracy.top5, accuracy.loss] == pytest.approx(by_hand(model, data), rel=1e-5)
    assert accuracy.images == 70
    assert 0 < accuracy.top1 < accuracy.top5 < 100, "a count that could not be wrong"


def test_evaluate_a_part(net, blobs):
    model, data = net(), blobs()
    accuracy = evaluate(model, data, batch_size=16, limit=2)
    assert [accuracy.top1, accuracy.top5, accuracy.loss] == pytest.approx(by_hand(model, data, 32), rel=1e-5)
    assert accuracy.images == 32


def test_no_top5_below_ten_classes(net, blobs):
    assert evaluate(net(classes=9), blobs(classes=9)).top5 is None


def test_bf16_is_close_and_not_the_same(net, blobs):
    plain = evaluate(net(), blobs())
    short = evaluate(net(), blobs(), precision="bf16")
    assert short.loss != plain.loss
    assert short.loss == pytest.approx(plain.loss, rel=0.02)


def test_every_module_gets_its_own_mode_back(net, blobs):
    model = net().train()
    model[1].eval()  # a frozen batch norm
    evaluate(model, blobs())
    assert [module.training for module in model] == [i != 1 for i in range(len(model))]
    assert model.training


def test_nothing_is_left_of_inference_mode(net, blobs):
    model = net()
    evaluate(model, blobs())
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    assert model[0].weight.grad is not None


def test_what_does_not_go_together_is_named(net, blobs):
    with pytest.raises(DataError, match="answers with 100 classes, data set 'blobs' has 10 classes"):
        evaluate(net(classes=100), blobs())
    with pytest.raises(
        DataError, match=r"cannot take the 3x32x32 images of data set 'blobs': .*mat1 and mat2"
    ):
        evaluate(net(), blobs(size=32))
    with pytest.raises(DataError, match=r"returns \(1, 3, 8, 8\), not one row of logits"):
        evaluate(nn.Identity(), blobs())
    with pytest.raises(DataError, match="'blobs' has no images in 'test'"):
        evaluate(net(), blobs(test_images=0))
