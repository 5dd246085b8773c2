"""Processes that are killed or stopped while several work as one; minutes, so with `make soak` alone."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from soak.commands import TINY

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
WORDS = ["--arch", "tiny_arch:tiny", "--batch-size", "256", "--precision", "fp32", "--threads", "1"]
WORDS += ["--epochs", "150", "--out", "run"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    here = tmp_path_factory.mktemp("undisturbed")
    process = start(here, "-m", "prune", "train-base", *WORDS, "--nproc", "2")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return digest(here)


def go_on(here: Path, expected: str) -> None:
    process = start(here, "-m", "prune", "train-base", "--resume", "run", "--nproc", "2", "--threads", "1")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert digest(here) == expected


@pytest.mark.parametrize("number", [0, 1])
def test_one_of_two_killed(figures, tmp_path: Path, undisturbed: str, number: int):
    figure = figures(f"`--nproc 2`: process {number + 1} killed, then gone on with")
    with figure.case():
        process = start(tmp_path, "-m", "prune", "train-base", *WORDS, "--nproc", "2")
        wait_for_epoch(tmp_path, 2)
        os.kill(workers_of(process)[number], signal.SIGKILL)
        began = time.monotonic()
        out, _ = process.communicate(timeout=60)
        figure.notes.append(f"ended after {time.monotonic() - began:.0f} s")
        assert process.returncode == 2, out
        assert "was killed by SIGKILL; go on with: prune train-base --resume run" in out
        go_on(tmp_path, undisturbed)


def test_one_of_two_stopped(figures, tmp_path: Path, undisturbed: str):
    figure = figures("`--nproc 2`: one process stopped for good, then gone on with")
    with figure.case():
        process = start(tmp_path, "-m", "prune", "train-base", *WORDS, "--nproc", "2")
        wait_for_epoch(tmp_path, 2)
        os.kill(workers_of(process)[1], signal.SIGSTOP)
        began = time.monotonic()
        out, _ = process.communicate(timeout=240)
        figure.notes.append(f"ended after {time.monotonic() - began:.0f} s")
        assert process.returncode == 2, out
        assert "process 2 of 2 has been stopped (SIGSTOP) for 120 seconds; go on with" in out
        go_on(tmp_path, undisturbed)


def test_torchrun_starts_a_lost_process_anew(figures, tmp_path: Path, undisturbed: str):
    figure = figures("`torchrun --max-restarts 1`: one process of two killed, restarted")
    with figure.case():
        begun = start(tmp_path, "-m", "prune", "train-base", *WORDS, "--nproc", "2")
        wait_for_epoch(tmp_path, 2)
        begun.send_signal(signal.SIGINT)
        begun.communicate(timeout=60)
        assert begun.returncode == 130
        resumed = ["-m", "prune", "train-base", "--resume", "run", "--threads", "1"]
        process = start(tmp_path, *TORCHRUN, "--max-restarts", "1", *resumed)
        lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        wait_for_epoch(tmp_path, json.loads(lines[-1])["epoch"] + 2)
        os.kill(workers_of(process)[1], signal.SIGKILL)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        assert out.count("resuming run after epoch") == 2
        assert digest(tmp_path) == undisturbed
