"""A training that was interrupted ends exactly where an uninterrupted one does."""

import io
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import warm
from prune.engine.errors import TrainingError
from prune.engine.training.checkpoint import read_checkpoint
from prune.engine.training.hooks import Hooks

TIMES = {"seconds", "images_per_s", "finished_at", "folder"}


def without_times(facts):
    if isinstance(facts, dict):
        return {key: without_times(value) for key, value in facts.items() if key not in TIMES}
    return [without_times(fact) for fact in facts] if isinstance(facts, list) else facts


def course(folder):
    """Everything a run leaves behind that may not depend on when it ran."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return without_times([log, json.loads((folder / "report.json").read_text())])


def assert_same_tensors(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def assert_same_course(left, right):
    assert course(left) == course(right)
    for name in ("best.hdf5", "final.hdf5"):
        assert_same_tensors(torch.load(left / name)["model"], torch.load(right / name)["model"])
    one, other = read_checkpoint(left / "checkpoint.pt"), read_checkpoint(right / "checkpoint.pt")
    for index, state in one.optimizer["state"].items():
        assert_same_tensors(state, other.optimizer["state"][index])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, net, training):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    list(training(folder, net()))
    return folder


@pytest.fixture
def uninterrupted(tmp_path, finished):
    """A copy, which may be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "uninterrupted"))


def stand_still(folder):
    """Start a training in another process and wait until it is in the middle of epoch 3."""
    script = Path(__file__).with_name("blob_process.py")
    process = warm.Process([script, folder])
    assert process.stdout.readline() == "standing still\n"
    return process


def test_resume_after_sigkill_is_exact(tmp_path, net, training, uninterrupted):
    folder = tmp_path / "killed"
    with stand_still(folder) as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert read_checkpoint(folder / "checkpoint.pt").progress.epoch == 2
    assert not (folder / "report.json").exists()
    with (folder / "log.jsonl").open("a") as log:  # an epoch whose checkpoint was lost, and a torn line
        log.write('{"event": "EpochDone", "epoch": 3}\n{"event": "Epo')
    list(training(folder, net(seed=5), resume=True))  # the checkpoint's weights replace these others
    assert_same_course(folder, uninterrupted)


def test_ctrl_c_says_how_far_it_got_and_resumes_exactly(tmp_path, net, training, uninterrupted):
    folder = tmp_path / "stopped"
    with stand_still(folder) as process:
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert rest == f"{folder} 2\n"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line.get("epoch") for line in log] == [None, 1, 2]
    list(training(folder, net(), resume=True))
    assert_same_course(folder, uninterrupted)


def test_resume_from_the_very_start_and_after_the_end(tmp_path, net, training, uninterrupted):
    folder = tmp_path / "barely"
    events = training(folder, net())
    next(events)  # RunStarted: nothing is trained yet
    events.close()
    list(training(folder, net(seed=5), resume=True))
    assert_same_course(folder, uninterrupted)
    list(training(folder, net(seed=5), resume=True))
    assert_same_course(folder, uninterrupted)


def test_resume_keeps_the_measured_precision_and_the_time_spent(tmp_path, net, training):
    started = next(training(tmp_path / "run", net(), precision="bf16", channels_last=True))
    assert (started.precision, started.channels_last) == ("bf16", True)
    path = tmp_path / "run" / "checkpoint.pt"
    contents = torch.load(path)
    contents["config"] |= {"precision": "auto", "channels_last": None}
    contents["progress"]["seconds"] = 1000.0
    torch.save(contents, path)
    events = list(training(tmp_path / "run", net(), precision="auto", channels_last=None, resume=True))
    assert (events[1].precision, events[1].channels_last) == ("bf16", True)
    assert events[-1].seconds > 1000


def test_hooks_are_resumed(tmp_path, net, training):
    class Counter(Hooks):
        steps = torch.zeros((), dtype=torch.int64)

        def after_step(self, step):
            self.steps = self.steps + 1

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state):
            self.steps = state["steps"]

    events = training(tmp_path / "run", net(), hooks=Counter())
    while getattr(next(events), "epoch", 0) < 2:
        pass
    events.close()
    counter = Counter()
    list(training(tmp_path / "run", net(), hooks=counter, resume=True))
    assert counter.steps == 4 * 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.1}, "made with lr = 0.03, not 0.1"),
        ({"epochs": 5}, "made with epochs = 4, not 5"),
        ({"seed": 3}, "made with seed = 0, not 3"),
    ],
)
def test_other_settings_are_refused(uninterrupted, net, training, changes, message):
    with pytest.raises(TrainingError, match=message):
        list(training(uninterrupted, net(), resume=True, **changes))


def test_another_network_is_refused(uninterrupted, net, training):
    wider = net()
    wider[4] = torch.nn.Conv2d(8, 12, 3, padding=1, stride=2)
    with pytest.raises(TrainingError, match=r"'4.weight' is 16x8x3x3, this network's is 12x8x3x3"):
        list(training(uninterrupted, wider, resume=True))
    shorter = net()[:-1]
    with pytest.raises(TrainingError, match=r"'8.weight' is 10x256, this network's is absent"):
        list(training(uninterrupted, shorter, resume=True))


def cut_in_half(contents):
    return contents[: len(contents) // 2]


def flip_a_weight_bit(contents):
    weight = torch.load(io.BytesIO(contents))["model"]["8.weight"].numpy().tobytes()
    place = contents.index(weight) + 500
    return contents[:place] + bytes([contents[place] ^ 0x40]) + contents[place + 1 :]


def empty(contents):
    return b""


@pytest.mark.parametrize("damage", [cut_in_half, flip_a_weight_bit, empty])
def test_a_damaged_checkpoint_is_refused(uninterrupted, net, training, damage):
    path = uninterrupted / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is not a readable checkpoint"):
        list(training(uninterrupted, net(), resume=True))


def test_a_foreign_or_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "absent.pt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(TrainingError, match="is not a readable checkpoint of this tool"):
        read_checkpoint(tmp_path / "foreign.pt")
    torch.save(Path, tmp_path / "code.pt")
    with pytest.raises(TrainingError, match="is not a readable checkpoint of this tool"):
        read_checkpoint(tmp_path / "code.pt")
