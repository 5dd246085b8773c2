"""Every job from settings to a result: train, prune at once, or prune while training."""

import copy
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data import DataInfo
from ..devices import resolve_device
from ..events import Accuracy, Event, Finished, Note, Saved
from ..graph.trace import trace
from ..measure.facts import measured
from ..measure.recalibrate import recalibrate
from ..narrowing.frozen import as_seen
from ..narrowing.outcome import Outcome, outcome_of, pinned_layers
from ..network.files import save_network
from ..network.network import Network
from ..processes import distributed
from ..runs.runs import Run
from ..schedules import Steering
from .at_once import Between, prune_in_steps
from .inputs import require_same
from .prepare import Prepared

if TYPE_CHECKING:
    from ..training.trainer import Save


def run_training(ready: Prepared, run: Run, *, resume: bool = False) -> Generator[Event, None, Finished]:
    """Train; the run folder ends up with the best and the final network, each loading by itself.

    Raises:
        TrainingError: see `train`.
    """
    from ..training.loop import train

    with _at_work(ready, run, resume) as goes_on:
        job, data, config = ready.job, ready.images, ready.job.training
        device = resolve_device(config.device)
        model = ready.network.model.to(device)
        teacher = ready.teacher.model.to(device) if ready.teacher else None
        if job.start is not None and job.recalibration and not goes_on:
            norms = recalibrate(model, ready.training_batches(job.recalibration))
            yield Note(f"re-estimated {norms} batch norms on {job.recalibration} batches")
        trained = ready.network.after(job.command, job.said(), accuracy=None)
        save = _saving(trained, data.info)
        return (yield from train(model, data, config, run, save, teacher=teacher, resume=goes_on))


def run_pruning(
    ready: Prepared, run: Run | None = None, *, resume: bool = False, between: Between | None = None
) -> Generator[Event, None, Outcome]:
    """Choose, cut, prove, and measure at every turn; in a run's folder, with training in between.

    Without images nothing is re-estimated or measured. In the folder, `final.hdf5` is the full-width network
    as it was trained, with all that left masked or in its compactors, and `narrow.hdf5` or `deploy.hdf5` the
    same without it; `report.json` comes last.

    Args:
        ready: a job that prunes.
        run: where it is kept; None is all at once, or in steps.
        resume: go on with the run.
        between: what is done with the network of every step but the last.

    Raises:
        AllocationError: what is to leave cannot.
        TrainingError: see `train`.
        ProofError: the narrow network would compute something else; a trained one is kept.
    """
    job, network = ready.job, ready.network
    before: dict[str, Accuracy] = {}
    if ready.measures and (job.start is not None or run is None):
        before["before"] = yield from ready.test(network.model)
    if run is None:
        return (yield from prune_in_steps(ready, before, between))
    marked = network.after(job.command, job.said(ready.chooser.wanted), accuracy=None)
    with _at_work(ready, run, resume) as goes_on:
        return (yield from _in_training(ready, marked, before, run, goes_on))


def _in_training(
    ready: Prepared, marked: Network, before: Mapping[str, Accuracy], run: Run, resume: bool
) -> Generator[Event, None, Outcome]:
    """Train as the schedule steers, then cut out what it has emptied."""
    from ..training.loop import train

    assert ready.schedule is not None
    data, model = ready.images, ready.network.model
    steering = yield from ready.schedule.begin()
    for note in (*steering.selection.notes, *steering.notes):
        yield Note(note)
    outcome: Outcome | None = None

    def conclude(after_training: Accuracy) -> Generator[Event, None, Mapping[str, Any]]:
        nonlocal outcome
        full = ready.job.parts.transfer.full
        accuracies = {**before, **steering.hooks.accuracies, full: after_training}
        outcome = yield from _cut_out(ready, steering, marked.holding(model), accuracies, run)
        return outcome.report()

    save = _saving(marked, data.info)
    hooks, config = steering.hooks, steering.config
    yield from train(model, data, config, run, save, hooks=hooks, conclude=conclude, resume=resume)
    assert outcome is not None
    return outcome


def _cut_out(
    ready: Prepared, steering: Steering, trained: Network, accuracies: Mapping[str, Accuracy], run: Run
) -> Generator[Event, None, Outcome]:
    """Make the narrow network of the trained one, test and save it."""
    transfer, chooser = ready.job.parts.transfer, ready.chooser
    residual = chooser.wanted.residual
    facts = steering.hooks.facts
    wide = copy.deepcopy(trained.model).to(memory_format=torch.contiguous_format)
    seen = as_seen(trained, trace(wide, trained.takes), residual, wide)
    thin = transfer.narrow(trained.holding(wide), seen, lambda _: steering.hooks.masked)
    accuracy = yield from ready.test(thin.model)
    folded = {**trained.folded, **thin.folded}
    network = measured(replace(trained.holding(thin.model), folded=folded), accuracy, ready.images.info)
    path = run.folder / f"{transfer.file}.hdf5"
    if distributed.is_first():
        save_network(path, network, force=True)
    yield Saved(path, transfer.file)
    selection = steering.selection
    if selection.refused is None:  # what the trial had to pin was never masked
        selection = replace(selection, refused=pinned_layers(steering.map))
    outcome = outcome_of(network, thin, selection, residual, chooser.before, (*steering.notes, *thin.notes))
    accuracies = {**accuracies, transfer.thin: accuracy}
    return replace(outcome, accuracies=accuracies, facts={**facts, **thin.facts}, path=path)


@contextmanager
def _at_work(ready: Prepared, run: Run, resume: bool) -> Iterator[bool]:
    """Hold the folder of a run; yield whether there is something in it to go on from.

    A run that was interrupted before its first checkpoint begins now.

    Raises:
        TrainingError: another process works there, or what the run goes on with is not what it began with.
    """

    def take() -> bool:
        run.lock()
        if resume:
            require_same(run, ready.job.inputs(ready.network, ready.images))
        return resume and run.begun

    try:
        yield distributed.from_first(take)
    finally:
        run.unlock()


def _saving(trained: Network, info: DataInfo) -> "Save":
    """How `train` writes a network down: as `trained` is, with its weights and accuracy of that moment."""

    def save(path: Path, model: nn.Module, accuracy: Accuracy) -> None:
        save_network(path, measured(trained.holding(model), accuracy, info), force=True)

    return save
