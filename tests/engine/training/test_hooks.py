"""What steers a training from outside: when it is called, and what it may decide."""

import json
from dataclasses import replace

import pytest
import torch
from prune.engine.errors import TrainingError
from prune.engine.events import EpochDone, MasksSet
from prune.engine.jobs.job import Job
from prune.engine.jobs.stored import plain, restored
from prune.engine.network.sources import Images
from prune.engine.training.config import TrainConfig
from prune.engine.training.hooks import Hooks
from prune.engine.training.optimizer import LrSchedule


class Diary(Hooks):
    """Writes down when it was called, and returns an event before and after every epoch."""

    def __init__(self, best_from=1):
        self.entries = []
        self.best_from = best_from

    def before_epoch(self, epoch, optimizer):
        self.entries.append(("before", epoch, len(optimizer.state)))
        return MasksSet(epoch, 0, 7, 0, 100, 1.0)

    def after_epoch(self, epoch):
        self.entries.append(("after", epoch, None))
        return MasksSet(epoch, 7, 7, 1, 90, 0.9)

    def may_be_best(self, epoch):
        return epoch >= self.best_from


def test_epochs_are_announced_before_and_after(tmp_path, net, training):
    diary = Diary()
    events = list(training(tmp_path / "run", net(), hooks=diary, epochs=2))
    parameters = len(list(net().parameters()))
    assert diary.entries == [
        ("before", 1, 0),
        ("after", 1, None),
        ("before", 2, parameters),
        ("after", 2, None),
    ]
    said = [event.step for event in events if isinstance(event, MasksSet)]
    assert said == [0, 7, 0, 7]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["event"] for record in log[1:4]] == ["MasksSet", "MasksSet", "EpochDone"]


def test_only_what_may_be_best_is_kept_as_such(tmp_path, net, training):
    events = list(training(tmp_path / "run", net(), hooks=Diary(best_from=3), epochs=4))
    best = [event.best for event in events if isinstance(event, EpochDone)]
    assert best[:3] == [False, False, True]
    top1 = max(event.test.top1 for event in events if isinstance(event, EpochDone) and event.epoch >= 3)
    assert torch.load(tmp_path / "run" / "best.hdf5")["top1"] == top1


def test_hooks_may_give_the_network_tensors_before_it_is_compared(tmp_path, net, training):
    class Adding(Hooks):
        """Registers a buffer in the second epoch, as an index appears when a shortcut is cut."""

        def __init__(self, model):
            self.model = model

        def before_epoch(self, epoch, optimizer):
            if epoch == 2:
                self.load_state_dict({"added": True})

        def state_dict(self):
            return {"added": hasattr(self.model, "index")}

        def load_state_dict(self, state):
            if state["added"]:
                self.model.register_buffer("index", torch.arange(3))

    model = net()
    events = training(tmp_path / "run", model, hooks=Adding(model))
    while getattr(next(events), "epoch", 0) < 3:
        pass
    events.close()
    model = net()
    list(training(tmp_path / "run", model, hooks=Adding(model), resume=True))
    assert model.index.tolist() == [0, 1, 2]


def test_the_rate_begins_anew_with_every_cycle(tmp_path, net, training):
    schedule = LrSchedule("cosine", rate=0.2, epochs=3, steps_per_epoch=4, warmup_epochs=1)
    once = [schedule.rate_at(step) for step in range(12)]
    assert [schedule.rate_at(step) for step in range(36)] == once * 3
    assert len(set(once)) > 6
    events = list(
        training(
            tmp_path / "run",
            net(),
            epochs=4,
            cycle_epochs=2,
            lr_schedule="multistep",
            milestones=(1,),
            lr=0.1,
        )
    )
    rates = [event.lr for event in events if isinstance(event, EpochDone)]
    assert rates == pytest.approx([0.1, 0.01, 0.1, 0.01])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cycle_epochs": 4}, "cycle_epochs is 4; it must be a divisor of 6 epochs"),
        ({"cycle_epochs": 0}, "cycle_epochs is 0; it must be a divisor of 6 epochs"),
        ({"cycle_epochs": 3, "warmup_epochs": 3}, "warmup_epochs is 3; it must be from 0 to 2"),
        (
            {"cycle_epochs": 3, "milestones": (4,), "lr_schedule": "multistep"},
            r"milestones is \(4,\); it must be rising epochs from 1 to 2",
        ),
    ],
)
def test_a_schedule_must_fit_its_cycle(settings, message):
    with pytest.raises(TrainingError, match=message):
        TrainConfig(epochs=6, lr=0.1, **settings)


def test_a_resumed_run_says_the_same_in_its_history():
    config = TrainConfig(epochs=3, lr=0.1, lr_schedule="multistep", milestones=(1, 2))
    assert restored(TrainConfig, json.loads(json.dumps(plain(config)))) == config
    job = Job(command="train-base", images=Images(), config=config)
    again = replace(job, config=restored(TrainConfig, json.loads(json.dumps(plain(config)))))
    assert job.said() == again.said()
    assert job.said() == {"epochs": 3, "lr": 0.1, "lr_schedule": "multistep", "milestones": [1, 2]}
