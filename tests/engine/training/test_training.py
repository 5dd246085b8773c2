"""The loop itself: what it computes, what it says, what it repeats and what it leaves behind."""

import json
import math
from itertools import chain

import pytest
import torch
from prune.archs.registry import get as get_arch
from prune.engine.data import open_data
from prune.engine.events import EpochDone, Finished, RunStarted, Saved, StepDone
from prune.engine.training import trainer
from prune.engine.training.hooks import Hooks
from prune.engine.training.tally import Tally
from prune.engine.training.trainer import REPORT_STEPS

STEPS = 7  # 200 images in batches of 32


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_it_learns_and_says_so(tmp_path, net, training):
    model = net()
    events = list(training(tmp_path / "run", model, epochs=6, augment=False))
    started, finished = events[0], events[-1]
    assert isinstance(started, RunStarted)
    assert (started.epochs, started.done_epochs, started.steps_per_epoch) == (6, 0, STEPS)
    assert isinstance(finished, Finished)
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.epoch for event in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[0].test.top1 < 100
    assert finished.final.top1 > 85
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert epochs[-1].train_top1 > epochs[0].train_top1
    assert epochs[-1].lr == pytest.approx(0.03 * (1 + math.cos(math.pi * 41 / 42)) / 2)


def test_best_and_final_are_what_they_say(tmp_path, net, training):
    folder = tmp_path / "run"
    events = list(training(folder, net()))
    epochs = [event for event in events if isinstance(event, EpochDone)]
    finished = events[-1]
    highest = max(event.test.top1 for event in epochs)
    assert finished.best.top1 == highest
    assert finished.best_epoch == next(event.epoch for event in epochs if event.test.top1 == highest)
    assert [event.epoch for event in epochs if event.best][-1] == finished.best_epoch
    assert torch.load(folder / "best.hdf5")["top1"] == highest
    assert torch.load(folder / "final.hdf5")["top1"] == epochs[-1].test.top1
    assert [event.what for event in events if isinstance(event, Saved)][-1] == "final"
    report = json.loads((folder / "report.json").read_text())
    assert report["best"]["top1"] == highest
    assert report["final"]["images"] == 70


def test_of_equal_epochs_the_first_is_best(tmp_path, training):
    still = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    events = list(training(tmp_path / "run", still, lr=1e-30))
    assert events[-1].best_epoch == 1
    assert events[-1].best.top1 == events[-1].final.top1


def test_the_seed_shuffles_the_images(tmp_path, net, training):
    """Without dropout and augmentation, their order is all that a seed can change."""
    models = {seed: net() for seed in (1, 2)}
    for seed, model in models.items():
        model[3].p = 0.0
        list(training(tmp_path / f"seed {seed}", model, seed=seed, augment=False, epochs=1))
    assert not equal(weights(models[1]), weights(models[2]))


def test_the_same_seed_gives_the_same_weights(tmp_path, net, training):
    first, again, other = net(), net(), net()
    list(training(tmp_path / "first", first, seed=1))
    torch.rand(3)  # the state of the global generator must not matter
    list(training(tmp_path / "again", again, seed=1))
    list(training(tmp_path / "other", other, seed=2))
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(other))


def test_the_global_random_state_is_given_back(tmp_path, net, training):
    model = net()
    before = torch.get_rng_state()
    list(training(tmp_path / "run", model, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_one_plain_step_equals_sgd_by_hand(tmp_path, net, training, blobs):
    """Loss, weight decay, momentum and rate of two epochs of one step, worked out without the optimizer."""
    data = blobs(train_images=20)
    model = net()[0:2].append(torch.nn.Flatten()).append(torch.nn.Linear(8 * 64, 10))
    settings = {"epochs": 2, "weight_decay": 0.01, "momentum": 0.8, "label_smoothing": 0.1, "augment": False}
    expected, velocity = [p.detach().clone() for p in model.parameters()], 0
    names = [name for name, _ in model.named_parameters()]
    buffers = weights(model)
    for epoch, rate in enumerate((0.03, 0.03 * (1 + math.cos(math.pi / 2)) / 2)):
        (images_NCHW, labels_N), *_ = data.batches("train", 32, shuffle_seed=0, epoch=epoch)
        leaves = [p.clone().requires_grad_() for p in expected]
        state = buffers | dict(zip(names, leaves, strict=True))
        logits_NK = torch.func.functional_call(model, state, (images_NCHW,))
        log_NK = logits_NK - logits_NK.logsumexp(1, keepdim=True)
        loss = -(0.9 * log_NK[range(20), labels_N] + 0.1 * log_NK.mean(1)).mean()
        gradients = torch.autograd.grad(loss, leaves)
        steps = [g + 0.01 * p for g, p in zip(gradients, expected, strict=True)]
        velocity = [0.8 * v + s for v, s in zip(velocity, steps, strict=True)] if epoch else steps
        expected = [p - rate * v for p, v in zip(expected, velocity, strict=True)]
    list(training(tmp_path / "run", model, data=data, **settings))
    for parameter, hand in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), hand, rtol=1e-4, atol=1e-6)


def test_progress_is_reported_now_and_then(tmp_path, net, training, monkeypatch):
    monkeypatch.setattr(trainer, "REPORT_SECONDS", float("inf"))  # however slow the machine is
    events = training(tmp_path / "run", net(), epochs=1, batch_size=2)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == [REPORT_STEPS, 2 * REPORT_STEPS]
    assert all(math.isfinite(event.loss) and event.images_per_s > 0 for event in steps)


def test_a_tally_weighs_images_alike():
    tally = Tally()
    tally.add(torch.tensor(1.0), torch.tensor(2), images=30)
    tally.add(torch.tensor(3.0), torch.tensor(1), images=10)
    assert (tally.waiting, tally.settle().mean) == (2, 1.5)
    tally.add(torch.tensor(0.0), torch.tensor(20), images=40)
    assert tally.settle().losses == [0.0]
    assert (tally.waiting, tally.images, tally.mean_loss, tally.top1) == (0, 80, 0.75, 28.75)


def test_hooks_act_where_they_say(tmp_path, net, training):
    model, calls = net(), []

    class Recording(Hooks):
        def after_backward(self, step):
            calls.append(("backward", step))
            self.before = model[0].weight.detach().clone()
            model[4].weight.grad.zero_()
            model[4].bias.grad.zero_()

        def after_step(self, step):
            calls.append(("step", step))
            assert not torch.equal(model[0].weight, self.before)

        def after_epoch(self, epoch):
            calls.append(("epoch", epoch))

    untouched = model[4].weight.detach().clone()
    list(training(tmp_path / "run", model, epochs=2, hooks=Recording(), weight_decay=0.0))
    steps = [[("backward", step), ("step", step)] for step in range(2 * STEPS)]
    assert calls == [*chain(*steps[:STEPS]), ("epoch", 1), *chain(*steps[STEPS:]), ("epoch", 2)]
    assert torch.equal(model[4].weight, untouched)


def test_distillation_alone_learns_the_teacher(tmp_path, net, training, blobs):
    data, silent = blobs(), blobs()
    silent._labels["train"] = torch.zeros(200, dtype=torch.int64)  # nothing to learn from these
    teacher, student = net(seed=1), net(seed=2)
    list(training(tmp_path / "teacher", teacher, data=data, augment=False))
    before = weights(teacher)
    events = list(
        training(
            tmp_path / "student",
            student,
            data=silent,
            teacher=teacher,
            distill_alpha=1.0,
            epochs=6,
            augment=False,
        )
    )
    assert events[-1].final.top1 > 70
    assert equal(before, weights(teacher))


def test_bf16_and_channels_last_train_too(tmp_path, net, training):
    model = net()
    events = list(
        training(tmp_path / "run", model, precision="bf16", channels_last=True, epochs=6, augment=False)
    )
    assert events[-1].final.top1 > 85
    assert model[4].weight.is_contiguous()
    assert model[4].weight.dtype == torch.float32


def test_auxiliary_heads_train_too(tmp_path, net, training):
    class TwoHeads(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.auxiliary = net()[:-1], net()[-1], net(seed=1)[-1]

        def forward(self, images_NCHW):
            features_NF = self.body(images_NCHW)
            logits_NK = self.head(features_NF)
            return (logits_NK, self.auxiliary(features_NF)) if self.training else logits_NK

    model = TwoHeads()
    before = model.auxiliary.weight.detach().clone()
    events = list(
        training(
            tmp_path / "run", model, precision="auto", channels_last=None, weight_decay=0.0, augment=False
        )
    )
    assert events[-1].final.top1 > 50
    assert not torch.equal(model.auxiliary.weight, before)


def test_digits_are_learnt(tmp_path, training):
    pytest.importorskip("sklearn")
    data = open_data("digits")
    torch.manual_seed(0)
    model = get_arch("small_networks:resnet8").build(data.info.num_classes)
    events = list(training(tmp_path / "run", model, data=data, epochs=2, lr=0.1, batch_size=64))
    assert events[-1].final.top1 > 80
