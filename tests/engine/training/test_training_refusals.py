"""What no training could follow is refused, and what ends one is told with the way back."""

import math

import pytest
import torch
from prune.engine.errors import DataError, EngineError, ProcessError, TrainingError
from prune.engine.training.checkpoint import read_checkpoint
from prune.engine.training.config import TrainConfig
from prune.engine.training.hooks import Hooks
from prune.engine.training.loop import Interrupted

STEPS = 7  # 200 images in batches of 32


class Spoilt:
    """A data set in which one batch of one epoch holds an infinite pixel."""

    def __init__(self, data, epoch, step):
        self.data, self.epoch, self.step = data, epoch, step
        self.info, self.size, self.count_batches = data.info, data.size, data.count_batches

    def batches(self, split, batch_size, **options):
        for step, (images_NCHW, labels_N) in enumerate(self.data.batches(split, batch_size, **options), 1):
            if (split, options.get("epoch"), step) == ("train", self.epoch - 1, self.step):
                images_NCHW = images_NCHW.clone().fill_(math.inf)
            yield images_NCHW, labels_N


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path, net, training, blobs):
    events = training(tmp_path / "run", net(), data=Spoilt(blobs(), epoch=3, step=4))
    expected = r"loss became nan in epoch 3, step 4 of 7, at learning rate 0\.0\d+; the checkpoint of epoch 2"
    with pytest.raises(TrainingError, match=expected):
        list(events)
    saved = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert saved.progress.epoch == 2
    assert all(tensor.isfinite().all() for tensor in saved.model.values())


def test_weights_broken_by_the_last_step_are_not_kept(tmp_path, net, training):
    model = net()

    class Breaking(Hooks):
        def after_step(self, step):
            if step == 2 * STEPS - 1:
                model[8].bias.data[0] = math.inf

    with pytest.raises(TrainingError, match="weight is no longer finite in epoch 2"):
        list(training(tmp_path / "run", model, hooks=Breaking()))
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt").progress.epoch == 1


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_teacher_and_alpha_go_together(tmp_path, net, training, alpha):
    teacher = net() if alpha == 0 else None
    with pytest.raises(TrainingError, match="needs both a teacher and an alpha"):
        list(training(tmp_path / "run", net(), teacher=teacher, distill_alpha=alpha))


def test_network_and_data_must_go_together(tmp_path, net, training, blobs):
    with pytest.raises(DataError, match="answers with 7 classes, data set 'blobs' has 10 classes"):
        list(training(tmp_path / "classes", net(classes=7)))
    with pytest.raises(DataError, match="cannot take the 3x10x10 images of data set 'blobs'"):
        list(training(tmp_path / "size", net(), data=blobs(size=10)))
    with pytest.raises(TrainingError, match="too few images"):
        list(training(tmp_path / "few", net(), data=blobs(train_images=1)))
    with pytest.raises(EngineError, match="no device 'tpu'"):
        list(training(tmp_path / "device", net(), device="tpu"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"lr": math.nan}, "lr is nan; it must be a number"),
        ({"lr": 0.0}, "lr is 0.0; it must be above 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov is True; it must be off"),
        ({"lr_schedule": "step"}, "lr_schedule is 'step'; it must be one of cosine, multistep"),
        ({"lr_schedule": "multistep"}, "needs milestones"),
        ({"lr_schedule": "multistep", "milestones": (3, 2)}, r"milestones is \(3, 2\); it must be rising"),
        ({"lr_schedule": "multistep", "milestones": (9,)}, "epochs from 1 to 8"),
        ({"warmup_epochs": 9}, "warmup_epochs is 9; it must be from 0 to 8"),
        ({"decay_rule": "none"}, "one of all, resrep"),
        ({"precision": "fp16"}, "one of auto, fp32, bf16"),
        ({"distill_alpha": 1.5}, "distill_alpha is 1.5"),
    ],
)
def test_settings_no_training_could_follow(setting, message):
    with pytest.raises(TrainingError, match=message):
        TrainConfig(**{"epochs": 9, "lr": 0.1, **setting})


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (torch.OutOfMemoryError(), TrainingError, "cpu ran out of memory at batch size 32; lower"),
        (ProcessError("gone"), ProcessError, "gone; the checkpoint of epoch 1 stays in .*checkpoint.pt"),
        (KeyboardInterrupt(), Interrupted, "after epoch 1"),
    ],
)
def test_what_ends_a_step_is_told_with_the_way_back(tmp_path, net, training, error, expected, message):
    class Failing(Hooks):
        def before_epoch(self, epoch, optimizer):
            if epoch == 2:
                raise error

    with pytest.raises(expected, match=message):
        list(training(tmp_path / "run", net(), hooks=Failing()))


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path, net, training):
    class Other(Hooks):
        def load_state_dict(self, state):
            state["masks"]

    events = training(tmp_path / "run", net())
    next(events)
    events.close()
    with pytest.raises(TrainingError, match="is not of this schedule: 'masks'"):
        list(training(tmp_path / "run", net(), hooks=Other(), resume=True))
