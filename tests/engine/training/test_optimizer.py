"""Decay groups against a rule read off the names; the learning rate against its closed form."""

import math

import pytest
import torch
from prune.engine.training.optimizer import LrSchedule, build_sgd, set_rate
from torch import nn


class ConvBN(nn.Module):
    def __init__(self, inputs, outputs, bias=False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.bn = nn.BatchNorm2d(outputs)
        self.compactor = nn.Sequential()
        self.compactor.add_module("pwc", nn.Conv2d(outputs, outputs, 1, bias=False))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvBN(3, 4, bias=True)
        self.again = self.stem  # a reused unit must not be updated twice
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(4))
        self.linear = nn.Linear(4, 10)


def settings_by_name(model, rate, **options):
    optimizer = build_sgd(model, momentum=0.9, weight_decay=1e-4, **options)
    set_rate(optimizer, rate)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        (names[id(parameter)], (group["weight_decay"], group["lr"], group["momentum"]))
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert len(found) == len(dict(found)), "a parameter is in two groups"
    return dict(found)


def test_resrep_groups():
    assert settings_by_name(Net(), 0.5, rule="resrep") == {
        "scale": (0.0, 0.5, 0.9),
        "stem.conv.weight": (1e-4, 0.5, 0.9),
        "stem.conv.bias": (0.0, 1.0, 0.9),
        "stem.bn.weight": (0.0, 0.5, 0.9),
        "stem.bn.bias": (0.0, 1.0, 0.9),
        "stem.compactor.pwc.weight": (0.0, 0.5, 0.99),
        "linear.weight": (1e-4, 0.5, 0.9),
        "linear.bias": (0.0, 1.0, 0.9),
    }


def test_all_treats_every_parameter_alike():
    found = settings_by_name(Net(), 0.5, rule="all")
    trainable = {name for name, parameter in Net().named_parameters() if parameter.requires_grad}
    assert found == dict.fromkeys(trainable, (1e-4, 0.5, 0.9))


@pytest.mark.parametrize("warmup", [0, 3])
def test_cosine_follows_its_closed_form(warmup):
    schedule = LrSchedule("cosine", rate=0.2, epochs=10, steps_per_epoch=7, warmup_epochs=warmup)
    rates = [schedule.rate_at(step) for step in range(70)]
    rising, falling = rates[: 7 * warmup], rates[7 * warmup :]
    assert rising == pytest.approx([0.2 * (i + 1) / (7 * warmup) for i in range(7 * warmup)])
    span = 70 - 7 * warmup
    assert falling == pytest.approx([0.1 * (1 + math.cos(math.pi * i / span)) for i in range(span)])
    assert falling[0] == 0.2
    assert schedule.rate_at(70) == schedule.rate_at(0)  # it begins anew


def test_multistep_drops_at_its_milestones():
    schedule = LrSchedule("multistep", rate=0.1, epochs=6, steps_per_epoch=5, milestones=(2, 4), gamma=0.5)
    assert [schedule.rate_at(step) for step in range(30)] == pytest.approx(
        [0.1] * 10 + [0.05] * 10 + [0.025] * 10
    )


def test_multistep_after_warm_up():
    schedule = LrSchedule("multistep", 0.1, epochs=4, steps_per_epoch=2, warmup_epochs=1, milestones=(3,))
    rates = [schedule.rate_at(step) for step in range(8)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
