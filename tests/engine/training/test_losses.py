"""Losses against their formulas, worked out number by number."""

import math

import pytest
import torch
from prune.engine.training.losses import classification_loss, distillation_loss

LOGITS_NK = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]])
TEACHER_NK = torch.tensor([[1.0, 1.5, -0.5], [-1.0, 0.0, 3.0]])
LABELS_N = torch.tensor([2, 0])


def softmax(logits, temperature=1.0):
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_scaled_divergence_from_the_teacher(temperature):
    expected = 0.0
    for student, teacher in zip(LOGITS_NK.tolist(), TEACHER_NK.tolist(), strict=True):
        q, p = softmax(student, temperature), softmax(teacher, temperature)
        expected += sum(pi * math.log(pi / qi) for pi, qi in zip(p, q, strict=True))
    found = distillation_loss(LOGITS_NK, TEACHER_NK, temperature)
    assert found.item() == pytest.approx(temperature**2 * expected / 2, rel=1e-5)
    assert distillation_loss(TEACHER_NK, TEACHER_NK, temperature).item() == pytest.approx(0, abs=1e-6)


def cross_entropy(logits_nk, smoothing=0.0):
    total = 0.0
    for logits, label in zip(logits_nk.tolist(), LABELS_N.tolist(), strict=True):
        logs = [math.log(p) for p in softmax(logits)]
        total -= (1 - smoothing) * logs[label] + smoothing * sum(logs) / 3
    return total / 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_cross_entropy(smoothing):
    loss = classification_loss(LOGITS_NK, LABELS_N, smoothing)
    assert loss.item() == pytest.approx(cross_entropy(LOGITS_NK, smoothing), rel=1e-5)


def test_auxiliary_heads_count_three_tenths():
    loss = classification_loss((LOGITS_NK, TEACHER_NK, None), LABELS_N, 0.0)
    expected = cross_entropy(LOGITS_NK) + 0.3 * cross_entropy(TEACHER_NK)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_bfloat16_logits_give_a_float32_loss():
    assert classification_loss(LOGITS_NK.bfloat16(), LABELS_N, 0.0).dtype == torch.float32
