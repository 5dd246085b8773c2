"""Processes that are killed or stopped while several work as one; minutes, so with `make soak` alone."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from soak.commands import TINY

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
WORDS = ["--arch", "tiny_arch:tiny", "--batch-size", "256", "--precision", "fp32", "--threads", "1"]
WORDS += ["--epochs", "60", "--out", "run"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone"]
LONGEST = 600  # seconds of a whole training, where other work waits for the cores too


def start(here: Path, *words: str) -> subprocess.Popen[str]:
    here.mkdir(exist_ok=True)
    (here / "tiny_arch.py").write_text(TINY)
    places = {"PYTHONPATH": os.pathsep.join([str(here), *sys.path]), "PRUNE_CACHE": str(here / "cache")}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=here,
        env=os.environ | places,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_epoch(here: Path, epoch: int) -> None:
    log, deadline = here / "run" / "log.jsonl", time.monotonic() + 200
    while not (log.exists() and f'"EpochDone", "epoch": {epoch},' in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that share the work, in their order."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return sorted(pid for pid, line in commands.items() if b"spawn_main" in line or b"train-base" in line)


def digest(here: Path) -> str:
    return hashlib.sha256((here / "run" / "final.hdf5").read_bytes()).hexdigest()


Undisturbed = Callable[[int], str]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What so many processes train that nothing happens to."""

    @cache
    def train(count: int) -> str:
        here = tmp_path_factory.mktemp("undisturbed")
        process = start(here, "-m", "prune", "train-base", *WORDS, "--nproc", str(count))
        out, _ = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, out
        return digest(here)

    return train


def begun(here: Path, count: int) -> subprocess.Popen[str]:
    """A training in so many processes that is some epochs old."""
    process = start(here, "-m", "prune", "train-base", *WORDS, "--nproc", str(count))
    wait_for_epoch(here, 2)
    return process


def go_on(here: Path, count: int, expected: str) -> None:
    words = ["train-base", "--resume", "run", "--nproc", str(count), "--threads", "1"]
    process = start(here, "-m", "prune", *words)
    out, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, out
    assert digest(here) == expected


@pytest.mark.parametrize(("count", "number"), [(2, 0), (2, 1), (4, 0), (4, 2)])
def test_one_killed(figures, tmp_path: Path, undisturbed: Undisturbed, count: int, number: int):
    figure = figures(f"`--nproc {count}`: process {number + 1} killed, then gone on with")
    with figure.case():
        process = begun(tmp_path, count)
        os.kill(workers_of(process)[number], signal.SIGKILL)
        began = time.monotonic()
        out, _ = process.communicate(timeout=60)
        figure.notes.append(f"ended after {time.monotonic() - began:.0f} s")
        assert process.returncode == 2, out
        assert "was killed by SIGKILL; go on with: prune train-base --resume run" in out
        go_on(tmp_path, count, undisturbed(count))


@pytest.mark.parametrize(("count", "number"), [(2, 1), (4, 2)])
def test_one_stopped(figures, tmp_path: Path, undisturbed: Undisturbed, count: int, number: int):
    figure = figures(f"`--nproc {count}`: process {number + 1} stopped for good, then gone on with")
    with figure.case():
        process = begun(tmp_path, count)
        os.kill(workers_of(process)[number], signal.SIGSTOP)
        began = time.monotonic()
        out, _ = process.communicate(timeout=240)
        figure.notes.append(f"ended after {time.monotonic() - began:.0f} s")
        assert process.returncode == 2, out
        stopped = f"process {number + 1} of {count} has been stopped (SIGSTOP) for 120 seconds; go on with"
        assert stopped in out
        go_on(tmp_path, count, undisturbed(count))


@pytest.mark.parametrize(("count", "number"), [(2, 1), (4, 2)])
def test_torchrun_starts_a_lost_process_anew(
    figures, tmp_path: Path, undisturbed: Undisturbed, count: int, number: int
):
    figure = figures(f"`torchrun --max-restarts 1`: process {number + 1} of {count} killed, restarted")
    with figure.case():
        first = begun(tmp_path, count)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
        assert first.returncode == 130
        resumed = ["-m", "prune", "train-base", "--resume", "run", "--threads", "1"]
        several = ["--nproc-per-node", str(count), "--max-restarts", "1"]
        process = start(tmp_path, *TORCHRUN, *several, *resumed)
        lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        wait_for_epoch(tmp_path, json.loads(lines[-1])["epoch"] + 2)
        os.kill(workers_of(process)[number], signal.SIGKILL)
        out, _ = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, out
        assert out.count("resuming run after epoch") == 2
        assert digest(tmp_path) == undisturbed(count)


MEETING = """
import os, signal, time
import torch
from prune.engine.processes import distributed

number, first_time = int(os.environ["RANK"]), os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
time.sleep(0 if first_time else 1.0 - number / 4)  # what the first has left stands there until it comes
distributed.join("cpu")
print(f"met {distributed.add_up(torch.tensor([1]))[0]}, {distributed.claim('a deed')}", flush=True)
if first_time and number == 2:
    os.kill(os.getpid(), signal.SIGKILL)
distributed.from_first(lambda: None)
distributed.leave()
"""


def test_processes_that_torchrun_starts_anew_meet_each_other(tmp_path: Path):
    """Not those that are gone: torchrun keeps the store in which they said where they listen."""
    (tmp_path / "meeting.py").write_text(MEETING)
    several = ["--nproc-per-node", "4", "--max-restarts", "1"]
    process = start(tmp_path, *TORCHRUN, *several, str(tmp_path / "meeting.py"))
    out, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, out
    assert out.count("met 4, ") == 8
    assert out.count("met 4, True") == 2
