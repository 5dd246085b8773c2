"""The commands that are killed and starved, each in seconds; how each goes on, and what it must leave."""

import hashlib
import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import warm

HERE = Path(__file__).parent
LONGEST = 300  # seconds of one command
TINY = """
from torch import nn


def tiny(num_classes):
    layers = [nn.Conv2d(3, 6, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
    layers += [nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes))
"""
_TRAINING = "--batch-size 256 --precision fp32 --dataset digits --arch tiny_arch:tiny --out run"
_LINES = {  # name -> what is typed
    "train-base": f"train-base --epochs 2 {_TRAINING}",
    "prune, one-shot": "prune base.hdf5 --rate 0.4 --dataset digits --arch tiny_arch:tiny --out out.hdf5",
    "prune, in steps": "prune base.hdf5 --flops 0.5 --steps 3 --criterion l1 --compensate --calibration 64 "
    "--dataset digits --arch tiny_arch:tiny --out out.hdf5",
    "prune, soft": f"prune base.hdf5 --rate 0.4 --schedule soft --epochs 2 {_TRAINING}",
    "prune, layer by layer": f"prune base.hdf5 --rate 0.4 --schedule layer-by-layer --epochs 1 {_TRAINING}",
    "prune, resrep": "prune base.hdf5 --method resrep --flops 0.6 --epochs 2 --mask-after 0 "
    f"--mask-interval 1 --lasso 0.05 {_TRAINING}",
    "finetune": f"finetune base.hdf5 --epochs 2 {_TRAINING}",
    "rank": "rank base.hdf5 --criterion hrank --limit 1 --dataset digits --out out.hdf5 "
    "--arch tiny_arch:tiny",
    "convert": "convert base.hdf5 out.pth --arch tiny_arch:tiny",
}
_FEW = ("train-base", "rank")  # one that trains, which keeps a folder, and one that makes a file
_TIMES = re.compile(r'"(seconds|images_per_s|finished_at|folder|path)": ("[^"]*"|[-+.e\d]+)')


class Ended(NamedTuple):
    """A command that ended: its exit code (negative: the signal), what it said on stderr, its seconds."""

    code: int
    err: str
    seconds: float


def run(
    words: str, folder: Path, *, kill: signal.Signals | None = None, after: float = 0.0, **fault: Any
) -> Ended:
    """Run a command line in a folder; `kill` is sent `after` so many seconds."""
    environment = {
        "PRUNE_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }
    program = [HERE / "faulty.py", json.dumps(fault), *words.split()]
    began = time.monotonic()
    with warm.Process(program, folder, os.environ | environment) as process:
        if kill is not None:
            process.stdout.readline()  # that it has begun
            time.sleep(after)
            process.send_signal(kill)
        _, err = process.communicate(LONGEST)
    return Ended(process.wait(), err, time.monotonic() - began)


class Whole(NamedTuple):
    """A command that nothing happened to: what it left (see `results`), and its seconds."""

    results: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class Bench:
    """A base network to work on, a folder for what is kept, and what undisturbed commands leave."""

    base: bytes
    scratch: Path
    _wholes: dict[str, Whole] = field(default_factory=dict)

    def place(self, folder: Path) -> Path:
        """Make a folder in which every command can run."""
        folder.mkdir(parents=True)
        (folder / "tiny_arch.py").write_text(TINY)
        (folder / "base.hdf5").write_bytes(self.base)
        return folder

    def whole(self, name: str) -> Whole:
        """What a command leaves that nothing happens to, and how long it takes."""
        if name not in self._wholes:
            folder = self.place(self.scratch / name)
            ended = self.run(name, folder)
            assert ended.code == 0, ended.err
            self._wholes[name] = Whole(results(folder), ended.seconds)
        return self._wholes[name]

    def run(self, name: str, folder: Path, **more: Any) -> Ended:
        """Run one of the commands."""
        return run(_LINES[name], folder, **more)

    def see_through(self, name: str, folder: Path) -> None:
        """Go on with a command that was cut short, as a user would who does what the messages say."""
        if not is_done(folder):
            begun = (folder / "run" / "checkpoint.pt").exists()
            words = f"{_LINES[name].split()[0]} --resume run" if begun else _LINES[name]
            ended = run(words, folder)
            assert ended.code == 0, ended.err
        assert is_done(folder)


def bench_of(scratch: Path) -> Bench:
    """Train the base network."""
    bench = Bench(b"", scratch)
    place = bench.place(scratch / "base")
    ended = bench.run("train-base", place)
    assert ended.code == 0, ended.err
    return Bench((place / "run" / "final.hdf5").read_bytes(), scratch)


def short_and_full(short: Any, full: Any) -> list[Any]:
    """Parameters (command, how much): some commands in a short form, and all of them with `make soak`."""
    few = [pytest.param(name, short) for name in _LINES if name in _FEW]
    return few + [pytest.param(name, full, marks=pytest.mark.soak) for name in _LINES]


def is_done(folder: Path) -> bool:
    """Is there all that the command was to make?"""
    return (folder / "run" / "report.json").exists() or any(folder.glob("out.*"))


def results(folder: Path) -> dict[str, str]:
    """Everything a command leaves but times: digests of networks and scores, the log, the report.

    A checkpoint is not told byte by byte: it says how long the training took.
    """
    files = [*folder.glob("out.*"), *(folder / "run").glob("*")]
    found = {}
    for path in files:
        if path.suffix in (".hdf5", ".pth"):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name in ("log.jsonl", "report.json"):
            found[path.name] = _TIMES.sub("", path.read_text())
        elif path.suffix == ".tmp":
            found[path.name] = "left over"
    return found
