"""A small residual network in a module of its own, as a user would bring it, and short jobs on it."""

import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prune.engine import schedules
from prune.engine.allocations import required
from prune.engine.events import ConvMasked, EpochDone, Event, MasksSet, RunStarted, StepDone
from prune.engine.jobs.job import Job, Pruning
from prune.engine.jobs.prepare import prepare
from prune.engine.jobs.run import run_pruning
from prune.engine.narrowing.outcome import Outcome
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.sources import Images
from prune.engine.runs.runs import Run
from prune.engine.scores.scoring import Scoring
from prune.engine.training.config import TrainConfig
from prune.engine.transfers.fold import Fold
from prune.engine.transfers.slice import Slice
from torch import nn

ARCH = "gradual_user:Net"
BETWEEN = (ConvMasked, MasksSet, RunStarted, StepDone, EpochDone)  # events at which a run may be left

MODULE = """
    import torch.nn.functional as F
    from prune.archs.units import ConvBN, Merge, PadShortcut
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside, outside, stride):
            super().__init__()
            self.conv1 = ConvBN(inside, outside, 3, stride)
            self.conv2 = ConvBN(outside, outside, 3)
            self.shortcut = PadShortcut(inside, outside, stride)
            self.merge = Merge()

        def forward(self, x):
            return F.relu(self.merge(self.shortcut(x), self.conv2(F.relu(self.conv1(x)))))

    class Net(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.stem = ConvBN(3, 8, 3, 2)
            self.block0 = Block(8, 8, 1)
            self.block1 = Block(8, 12, 2)
            self.linear = nn.Linear(12, num_classes)

        def forward(self, x):
            x = self.block1(self.block0(F.relu(self.stem(x))))
            return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
"""


@pytest.fixture
def base(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    randomise: Callable[[nn.Module], nn.Module],
    few_digits: None,
) -> Path:
    """A file of the network, made for `digits`, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gradual_user.py").write_text(textwrap.dedent(MODULE))
    network = new_network(ARCH, num_classes=10, input_size=(3, 16, 16))
    save_network(tmp_path / "base.hdf5", replace(network, model=randomise(network.model)))
    return tmp_path / "base.hdf5"


@pytest.fixture
def make_job(base: Path) -> Callable[..., Job]:
    """A short job, but for the settings given by name: of the job, of its training, or of what leaves."""
    config = TrainConfig(
        epochs=2, lr=0.05, batch_size=64, precision="fp32", channels_last=False, device="cpu"
    )

    def make(schedule: str, **settings: Any) -> Job:
        training = {name: settings.pop(name) for name in list(settings) if hasattr(config, name)}
        scoring = {name: settings.pop(name) for name in list(settings) if hasattr(Scoring, name)}
        kind = schedules.get(schedule)
        when = {name: settings.pop(name) for name in list(settings) if hasattr(kind, name)}
        own = {name: settings.pop(name) for name in list(settings) if name in ("start", "num_classes")}
        return Job(
            command="prune",
            images=Images("digits"),
            config=replace(config, **training),
            arch=ARCH,
            pruning=Pruning(
                allocation=required(settings or {"rate": 0.5}),
                scoring=Scoring(**scoring),
                schedule=kind(**when),
                transfer=Slice() if kind.scores_filters else Fold(),
            ),
            **{"start": base, **own},
        )

    return make


def begin(job: Job, folder: Path) -> Iterator[Event]:
    ready = prepare(job)
    return run_pruning(ready, Run.create(folder, job.settings(ready.network, ready.images)))


def go_on(folder: Path) -> Iterator[Event]:
    run = Run.open(folder)
    return run_pruning(prepare(Job.of_run(run)), run, resume=True)


def see_through(events: Iterator[Event]) -> tuple[Outcome, list[Event]]:
    seen: list[Event] = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return end.value, seen


@pytest.fixture
def run() -> Callable[[Job, Path], tuple[Outcome, list[Event]]]:
    """Begin a job's run in a folder and see it through."""
    return lambda job, folder: see_through(begin(job, folder))


@pytest.fixture
def run_with_copies() -> Callable[[Job, Path], tuple[Outcome, list[Path]]]:
    """See a job's run through, and copy its folder amid the first epoch and after each.

    A copy is what a process leaves that is killed there.
    """

    def run(job: Job, folder: Path) -> tuple[Outcome, list[Path]]:
        events, copies, done = begin(job, folder), [], 0
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value, copies
            done += isinstance(event, EpochDone)
            if done == len(copies) and isinstance(event, BETWEEN):
                copies.append(Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-{done}"))))

    return run


@pytest.fixture
def interrupt() -> Callable[[Job, Path, int], None]:
    """Begin a job's run in a folder, and leave it in the middle of the epoch after some."""

    def interrupt(job: Job, folder: Path, epochs: int) -> None:
        events = begin(job, folder)
        done = 0
        for event in events:
            done += isinstance(event, EpochDone)
            if done == epochs and isinstance(event, BETWEEN):
                break
        events.close()  # pyright: ignore[reportAttributeAccessIssue]

    return interrupt


@pytest.fixture
def resume() -> Callable[[Path], tuple[Outcome, list[Event]]]:
    """Go on with the run in a folder and see it through."""
    return lambda folder: see_through(go_on(folder))
