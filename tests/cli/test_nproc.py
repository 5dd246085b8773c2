"""`--nproc 2`, as a user meets it: one result, one message, and nothing left running, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import warm
from lying_in_wait import lie_in_wait
from PIL import Image
from prune.cli import processes
from prune.engine.training.checkpoint import read_checkpoint

pytest.importorskip("sklearn")

TINY = """
from torch import nn

def tiny(num_classes):
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, num_classes))
"""
LATE = """
import sys
import time

from prune.cli import processes
from prune.engine.processes import distributed

def run(words):
    distributed.join("cpu")
    second = distributed.number() == 1
    if second:
        assert processes.speaks(ValueError())
        distributed.leave()
        time.sleep(1)
        print("the second says it", file=sys.stderr)
    else:
        while not distributed._store.check([distributed.SPEAKER]):
            time.sleep(0.01)
    return 2

if __name__ == "__main__":
    import late

    sys.exit(processes.launch(late.run, [], 2))
"""
TRAIN = [
    "train-base",
    "--arch",
    "tiny_arch:tiny",
    "--precision",
    "fp32",
    "--batch-size",
    "256",
    "--nproc",
    "2",
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "tiny_arch.py").write_text(TINY)
    return tmp_path


def surroundings(here: Path) -> dict[str, str]:
    """The environment of a command, whose network lies here."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(here), *sys.path])}


def start(here: Path, words: Iterable[str]) -> warm.Process:
    """A command; the processes that it launches are forked."""
    return warm.Process(["-W", "error", *words], here, surroundings(here), fork_workers=True)


def run(here: Path, *words: str) -> tuple[int, str, str]:
    process = start(here, ["-m", "prune", *words])
    out, err = process.communicate(timeout=120)
    assert process.returncode is not None
    return process.returncode, out, err


def workers_of(process: warm.Process) -> list[int]:
    """The launched processes, in their order; Linux lists them."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, children))


def in_its_second_epoch(here: Path, *python: str) -> warm.Process:
    """A training, by `python -m prune` or whatever else leads there."""
    process = start(here, [*(python or ("-m", "prune")), *TRAIN, "--epochs", "5000", "--out", "run"])
    for line in process.stderr:
        if line.startswith("epoch    1/5000"):
            return process
    raise AssertionError("it ended before its second epoch")


def test_train_and_rank(here: Path):
    """The training by processes as cold as a user's, in a folder whose modules none of them may execute."""
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    lie_in_wait(elsewhere)
    command = [sys.executable, "-W", "error", "-m", "prune", *TRAIN, "--epochs", "2", "--out", "../run"]
    trained = subprocess.run(
        [*command, "--json"],
        cwd=elsewhere,
        env=surroundings(here) | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert trained.returncode == 0, trained.stderr
    assert not (elsewhere / "ran").exists()
    assert json.loads(trained.stdout)["final"]["images"] == 360
    assert trained.stderr.count("epoch 2/2") == 1
    log = [json.loads(line)["event"] for line in (here / "run" / "log.jsonl").read_text().splitlines()]
    assert log == ["RunStarted", "EpochDone", "EpochDone", "Finished"]
    ranking = ["rank", "run/best.hdf5", "--arch", "tiny_arch:tiny", "--limit", "1", "--json", "--out"]
    scores = []
    for words in ([*ranking, "one.hdf5"], [*ranking, "two.hdf5", "--nproc", "2"]):
        code, out, err = run(here, *words)
        assert code == 0, err
        scores.append(json.loads(out)["scores"]["0"])
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the launched processes in /proc")
@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_the_job_and_leaves_a_checkpoint(here: Path, number: int):
    process = in_its_second_epoch(here)
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[number], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert not out
    said = [line for line in err.splitlines() if not line.startswith("epoch")]
    expected = f"process {number + 1} of 2 was killed by SIGKILL; go on with: prune train-base --resume run"
    assert said == [f"error: {expected}"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert read_checkpoint(here / "run" / "checkpoint.pt").progress.epoch >= 1


IMPATIENT = """
import sys, time

from prune.cli import main, processes
from prune.engine.training.trainer import Trainer

write = Trainer._write_checkpoint

def slowly(self):  # or it would be busy while nothing is looked at
    time.sleep(0.3)
    write(self)

Trainer._write_checkpoint = slowly
processes.STANDSTILL = 2
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the launched processes in /proc")
def test_a_process_may_be_stopped_for_a_while_but_not_for_good(here: Path):
    process = in_its_second_epoch(here, "-c", IMPATIENT)
    workers = workers_of(process)
    for _ in range(2):
        os.kill(workers[1], signal.SIGSTOP)
        time.sleep(1)
        os.kill(workers[1], signal.SIGCONT)
        time.sleep(1.5)
    assert process.poll() is None
    os.kill(workers[1], signal.SIGSTOP)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert not out
    said = [line for line in err.splitlines() if not line.startswith("epoch")]
    stopped = "process 2 of 2 has been stopped (SIGSTOP) for 2 seconds"
    assert said == [f"error: {stopped}; go on with: prune train-base --resume run"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert read_checkpoint(here / "run" / "checkpoint.pt").progress.epoch >= 1


def test_a_process_that_has_just_ended_is_not_stopped():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.1)
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # nobody has asked for its exit code yet
    worker = SimpleNamespace(exitcode=None, pid=ended.pid)
    assert not processes._is_stopped(worker)
    ended.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the launched processes in /proc")
def test_ctrl_c_says_once_how_to_go_on_and_that_works(here: Path):
    process = in_its_second_epoch(here)
    workers = workers_of(process)
    for pid in (process.pid, *workers):  # a terminal tells them all
        os.kill(pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not out
    said = [line for line in err.splitlines() if not line.startswith("epoch")]
    assert len(said) == 1
    assert said[0].startswith("interrupted after epoch ")
    assert said[0].endswith("go on with: prune train-base --resume run")
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    process = start(here, ["-m", "prune", "train-base", "--resume", "run", "--nproc", "2"])
    assert process.stderr.readline().startswith("resuming run after epoch ")
    assert process.stderr.readline().startswith("training in run: ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err


def test_an_image_that_one_process_cannot_read_is_one_line(here: Path):
    rng = np.random.default_rng(0)
    for split, name in (
        (split, f"{label}/{i}") for split in ("train", "val") for label in "ab" for i in range(4)
    ):
        path = here / "images" / split / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (72, 72, 3), dtype=np.uint8)).save(path)
    (here / "images" / "train" / "b" / "2.png").write_bytes(b"nonsense")
    words = ["--data-dir", "images", "--image-size", "72", "--batch-size", "4", "--epochs", "2"]
    code, out, err = run(here, *TRAIN, *words)
    assert code == 2
    assert not out
    said = [line for line in err.splitlines() if not line.startswith(("training in", "epoch"))]
    assert len(said) == 1
    assert said[0].startswith("error: cannot read image 'images/train/b/2.png'")


def test_what_goes_wrong_in_both_is_one_line(here: Path):
    code, out, err = run(here, *TRAIN, "--batch-size", "33")
    assert code == 2
    assert not out
    assert err.startswith("error: batch size 33 cannot be shared by 2 processes; ")
    assert len(err.splitlines()) == 1


def test_who_says_what_went_wrong_is_let_finish(here: Path):
    """The first may be gone before the second, which failed a moment earlier, has said why."""
    (here / "late.py").write_text(LATE)
    process = start(here, ["late.py"])
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, "the second says it\n")
