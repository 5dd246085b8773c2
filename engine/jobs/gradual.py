"""Gradual pruning from end to end: choose, train under masks, cut out what is masked, measure."""

import copy
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..data import ImageData
from ..devices import resolve_device
from ..errors import AllocationError
from ..events import Accuracy, Event, Note, Saved
from ..graph.cost import Cost, Counter, count
from ..graph.residual import view
from ..graph.trace import trace
from ..measure.evaluation import evaluate, evaluating
from ..narrowing.narrowing import left_alone, narrow_proven
from ..narrowing.pruning import Forecast, kept_filters, pinned_layers
from ..network.network import Network, load_network, save_network
from ..network.sources import random_network
from ..processes import distributed
from ..runs.runs import Run
from ..schedules.changing_masks import ChangingMasks
from ..schedules.layer_by_layer import LayerByLayer, Turn, turns
from ..selection.selection import group_counts
from ..training.config import TrainConfig
from ..training.loop import train
from .gradual_choice import Chooser, Trial
from .gradual_job import GradualJob
from .one_shot import measured
from .training import require_finite, saving, without_defaults


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job with everything at hand: nothing is left that could be missing.

    Attributes:
        network: as the job starts from it, on the job's device.
        forecast: how much of it leaves.
    """

    job: GradualJob
    network: Network
    data: ImageData
    chooser: Chooser
    forecast: Forecast

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Layer by layer: whose turn comes when, as far as that goes without scores."""
        return turns(self.forecast.map, self.forecast.selection, self.job.start_conv)

    @property
    def config(self) -> TrainConfig:
        """Of the whole training, as far as that goes without scores."""
        return _whole(self.job, len(self.turns)) if self.job.by_layers else self.job.config

    @property
    def leaving(self) -> frozenset[int]:
        """As many channels as leave, though not the very ones."""
        removed = self.forecast.selection.removed
        if not self.job.by_layers:
            return removed
        return frozenset().union(*(turn.masked(removed) for turn in self.turns))

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Per group that takes part, how many channels would stay and how many there are."""
        forecast = self.forecast
        groups = [group for group in forecast.map.groups if group.name in forecast.selection.counts]
        return group_counts(groups, self.leaving)


def _whole(job: GradualJob, turns: int) -> TrainConfig:
    """Layer by layer, the training of all turns: with each one, the learning rate begins anew."""
    return replace(job.config, epochs=job.config.epochs * turns, cycle_epochs=job.config.epochs)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes:
        path: of the narrow network.
        accuracies: `before` (but from scratch), with soft and hard masks `live` (the last masks set, BN still
            alive), `masked` and `narrow`.
        before, after: what one image costs in the full and in the narrow network.
        counts: per group that took part, how many channels stay and how many there were.
        kept: per convolution, the positions of the filters that stay.
        pinned: per layer, why channels of it could not leave.
        ignored: convolutions whose rates had no effect, because their groups are left alone.
        residual: how residual streams were treated.
        difference: between the masked and the narrow network, relative, float64.
    """

    network: Network
    path: Path
    accuracies: Mapping[str, Accuracy]
    before: Cost
    after: Cost
    counts: Mapping[str, tuple[int, int]]
    kept: Mapping[str, list[int]]
    pinned: Mapping[str, str]
    ignored: tuple[str, ...]
    residual: str
    difference: float
    notes: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """What the run's report says of it, plain values only."""
        return {
            "accuracy": {stage: asdict(accuracy) for stage, accuracy in self.accuracies.items()},
            "macs": {"before": self.before.macs, "after": self.after.macs},
            "params": {"before": self.before.params, "after": self.after.params},
            "kept": dict(self.kept),
            "pinned": dict(self.pinned),
            "difference": self.difference,
            "notes": list(self.notes),
        }


def prepare(job: GradualJob) -> Prepared:
    """Find everything a job needs, and check that it goes together, before anything is written.

    Raises:
        EngineError, ArchError, WeightsError: the first thing that is missing or does not fit.
        AllocationError: what is to leave cannot, or is nothing.
    """
    network, data = _start(job)
    require_finite(network)
    network.model.to(resolve_device(job.config.device))
    chooser = Chooser(job, network, data, trace(network.model, network.input_size))
    ready = Prepared(job, network, data, chooser, chooser.forecast())
    if not ready.leaving:
        raise AllocationError("no filter leaves; say more with --rate, --compress-rate or --flops")
    return ready


def _start(job: GradualJob) -> tuple[Network, ImageData]:
    if job.start is None:
        return random_network(job.arch, job.images, num_classes=job.num_classes, seed=job.config.seed)
    network = load_network(job.start, job.arch, input_size=job.images.image_size)
    return network, job.images.open(network)


def run_gradual(ready: Prepared, run: Run, *, resume: bool = False) -> Generator[Event, None, Outcome]:
    """Train under masks, cut out what is masked, and measure.

    In the run folder, `final.hdf5` is the full-width network with all that left masked, and `narrow.hdf5` the
    same without it; `report.json` comes last.

    Raises:
        TrainingError: see `train`.
        ProofError: the narrow network would compute something else; the trained one is kept.
    """
    job, data = ready.job, ready.data
    resume = distributed.from_first(lambda: resume and run.begun)
    model = ready.network.model
    device = next(model.parameters()).device
    trained = ready.network.after("prune", _options(run), accuracy=None)
    accuracies: dict[str, Accuracy] = {}
    if job.start is not None:
        accuracies["before"] = yield from evaluating(
            model, data, batch_size=job.config.eval_batch_size, device=device
        )
    trial = yield from ready.chooser.trying()
    for note in trial.notes:
        yield Note(note)
    hooks, config = _schedule(ready, trial)
    outcome: Outcome | None = None

    def conclude(after_training: Accuracy) -> Generator[Event, None, Mapping[str, Any]]:
        nonlocal outcome
        if isinstance(hooks, ChangingMasks) and hooks.live is not None:
            accuracies["live"] = hooks.live
        accuracies["masked"] = after_training
        masked = replace(trained, model=model)
        outcome = yield from _narrowed(ready, trial, run.narrow, masked, hooks.masked, accuracies)
        return outcome.facts

    save = saving(trained, data.info)
    yield from train(model, data, config, run, save, hooks=hooks, conclude=conclude, resume=resume)
    assert outcome is not None
    return outcome


def _options(run: Run) -> dict[str, Any]:
    """For the history: the job as the folder keeps it, so that a resumed run writes the same."""
    job = GradualJob.of_run(run)
    chosen_by = {"scores": str(job.scores)} if job.scores else {"criterion": job.criterion}
    when = {"start_conv": job.start_conv} if job.by_layers else {"prune_every": job.prune_every}
    origin = {"recipe": job.recipe} if job.recipe else {}
    options = {"schedule": job.schedule, **origin, **when, **job.specification.given()}
    if job.specification.needs_scores:
        options |= chosen_by
    return options | without_defaults(asdict(job.config))


def _schedule(ready: Prepared, trial: Trial) -> tuple[LayerByLayer | ChangingMasks, TrainConfig]:
    """What steers the training, and the training as a whole."""
    job, data, config = ready.job, ready.data, ready.job.config
    model, counter = ready.network.model, Counter(trial.map)

    def macs(masked: Iterable[int]) -> int:
        return counter.totals(masked)[0]

    def test() -> Accuracy:
        device = next(model.parameters()).device
        return evaluate(model, data, batch_size=config.eval_batch_size, device=device)

    if job.by_layers:
        due = turns(trial.map, trial.selection, job.start_conv)
        leaving = trial.selection.removed
        return LayerByLayer(model, trial.map, due, leaving, macs, config.epochs), _whole(job, len(due))
    batch_size = distributed.share_of(config.batch_size)
    hooks = ChangingMasks(
        model,
        trial.map,
        lambda model: ready.chooser.choose(model, trial.map),
        macs,
        test,
        hard=job.schedule == "hard",
        epochs=config.epochs,
        prune_every=job.prune_every,
        steps_per_epoch=data.count_batches("train", batch_size, shard=distributed.shard()),
    )
    return hooks, config


def _narrowed(
    ready: Prepared,
    trial: Trial,
    path: Path,
    masked: Network,
    removed: frozenset[int],
    accuracies: Mapping[str, Accuracy],
) -> Generator[Event, None, Outcome]:
    """Cut the masked channels out of the trained network, test and save the result."""
    wide = copy.deepcopy(masked.model).to(memory_format=torch.contiguous_format)
    size = masked.input_size
    residual = ready.job.specification.for_arch(masked.arch).residual
    seen = view(wide, trace(wide, size), size, residual)
    result = narrow_proven(seen.model, seen.traced, size, lambda _: removed, finish=seen.close)
    thin = replace(masked, model=result.model)
    batch_size, device = ready.job.config.eval_batch_size, next(wide.parameters()).device
    accuracy = yield from evaluating(thin.model, ready.data, batch_size=batch_size, device=device)
    thin = measured(thin, accuracy, ready.data.info)
    if distributed.is_first():
        save_network(path, thin, force=True)
    yield Saved(path, "narrow")
    took_part = [group for group in result.map.groups if group.name in trial.selection.counts]
    return Outcome(
        network=thin,
        path=path,
        accuracies={**accuracies, "narrow": accuracy},
        before=ready.forecast.before,
        after=count(seen.traced.map, result.removed),
        counts=group_counts(took_part, result.removed),
        kept=kept_filters(result.map, result.removed),
        pinned=pinned_layers(trial.map),
        ignored=trial.selection.ignored,
        residual=residual,
        difference=result.difference,
        notes=(*trial.notes, *left_alone(result.misfits)),
    )
