"""ResRep from end to end: compactors into a network, training that empties rows, folding, measuring."""

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...archs.units import Compactor
from ..compactors.folding import THRESHOLD, Folded, fold
from ..compactors.sites import Site, insert, refused, targets
from ..data import ImageData
from ..devices import resolve_device
from ..errors import AllocationError, TrainingError
from ..events import Accuracy, Event, Saved
from ..graph.channels import ChannelMap
from ..graph.cost import Cost, Counter, count
from ..graph.trace import trace
from ..masking.rule import MaskRule
from ..measure.evaluation import evaluating
from ..modules.guests import COMPACTORS
from ..network.network import Network, load_network, save_network
from ..processes import distributed
from ..runs.runs import Run
from ..schedules.gradient_resetting import GradientResetting, active_rows, row_norms
from ..training.loop import train
from .one_shot import measured
from .resrep_job import ResRepJob
from .training import require_finite, saving, without_defaults


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job with everything at hand: nothing is left that could be missing.

    Attributes:
        network: with its compactors in place, at `sites`.
        before: what the network costs as it came.
        refused: groups that can carry no compactor, and why.
    """

    job: ResRepJob
    network: Network
    data: ImageData
    sites: tuple[Site, ...]
    rule: MaskRule
    before: Cost
    refused: Mapping[str, str]

    @property
    def compactors(self) -> tuple[Compactor, ...]:
        """In network order."""
        return tuple(site.compactor for site in self.sites)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes:
        path: of the folded network.
        accuracies: `before`, once `trained` (with compactors) and `folded`.
        before, after: what one image costs in the network as it came, and in the folded one.
        target: MACs that were to be reached.
        masked: what the masks leave of the MACs.
        lingering: masked rows that are too long to leave.
    """

    network: Network
    path: Path
    accuracies: Mapping[str, Accuracy]
    before: Cost
    after: Cost
    target: float
    masked: int
    lingering: int
    folded: Folded

    @property
    def facts(self) -> dict[str, Any]:
        """What the run's report says of it, plain values only."""
        macs = {"before": self.before.macs, "after": self.after.macs, "target": round(self.target)}
        return {
            "accuracy": {stage: asdict(accuracy) for stage, accuracy in self.accuracies.items()},
            "macs": {**macs, "masked": self.masked},
            "params": {"before": self.before.params, "after": self.after.params},
            "widths": {name: list(widths) for name, widths in self.folded.widths.items()},
            "lingering_rows": self.lingering,
            "difference": self.folded.error,
            "cost_of_dropping": self.folded.cost,
            "notes": list(self.folded.notes),
        }


def prepare(job: ResRepJob) -> Prepared:
    """Find everything a job needs, and check that it goes together, before anything is written.

    Raises:
        EngineError, ArchError, WeightsError: the first thing that is missing or does not fit.
        AllocationError: no compactor can be placed, or the target is out of their reach.
    """
    network = load_network(job.start, job.arch, input_size=job.images.image_size)
    data = job.images.open(network)
    require_finite(network)
    if COMPACTORS.placed(network.model):
        raise TrainingError(
            f"'{job.start}' carries compactors already; fold them first (prune convert), or go on with the "
            "run it comes from (--resume)"
        )
    traced = trace(network.model, network.input_size)
    found = targets(network.model, traced, residual=job.residual, skip=job.skip)
    if not found:
        raise AllocationError(
            "no layer can carry a compactor: every group is pinned, skipped, or part of a residual stream"
        )
    why_not = refused(network.model, traced)
    sites = insert(network.model, found)
    rule = mask_rule(traced.map, sites, job)
    rule.require_reachable()
    return Prepared(job, network, data, sites, rule, count(traced.map), why_not)


def mask_rule(channel_map: ChannelMap, sites: tuple[Site, ...], job: ResRepJob) -> MaskRule:
    """The choice of masks for a network without compactors, its MACs counted exactly."""
    counter = Counter(channel_map)
    return MaskRule(
        [site.row_ids for site in sites],
        lambda ids: counter.totals(ids)[0],
        target=job.penalty.flops_target,
        granularity=job.penalty.granularity,
        pinned=[channel for site in sites for channel in site.group.pinned],
    )


def run_resrep(ready: Prepared, run: Run, *, resume: bool = False) -> Generator[Event, None, Outcome]:
    """Train, fold and measure.

    In the run folder, `final.hdf5` is the network as it was trained, with compactors, and `deploy.hdf5` the
    folded one; `report.json` comes last.

    Raises:
        TrainingError: see `train`.
        ProofError: the folded network would compute something else; the trained one is kept.
    """
    job, data = ready.job, ready.data
    resume = distributed.from_first(lambda: resume and run.begun)
    device = resolve_device(job.config.device)
    model = ready.network.model.to(device)
    options = {name: run.config[name] for name in ("method", "residual", "skip", "penalty")}
    options |= without_defaults(run.config["training"]) | ({"recipe": job.recipe} if job.recipe else {})
    trained = ready.network.after("prune", options, accuracy=None)
    before = yield from evaluating(model, data, batch_size=job.config.eval_batch_size, device=device)
    outcome: Outcome | None = None

    def conclude(after_training: Accuracy) -> Generator[Event, None, Mapping[str, Any]]:
        nonlocal outcome
        accuracies = {"before": before, "trained": after_training}
        outcome = yield from _folded(ready, run.deploy, replace(trained, model=model), accuracies, device)
        return outcome.facts

    batch_size = distributed.share_of(job.config.batch_size)
    steps_per_epoch = data.count_batches("train", batch_size, shard=distributed.shard())
    hooks = GradientResetting(ready.compactors, ready.rule, job.penalty, steps_per_epoch)
    save = saving(trained, data.info)
    yield from train(model, data, job.config, run, save, hooks=hooks, conclude=conclude, resume=resume)
    assert outcome is not None
    return outcome


def _folded(
    ready: Prepared, path: Path, trained: Network, accuracies: Mapping[str, Accuracy], device: torch.device
) -> Generator[Event, None, Outcome]:
    """Fold the trained network, test and save the result, and hold it against what was wanted."""
    active, norms = active_rows(ready.compactors), row_norms(ready.compactors)
    folded = fold(trained.model, trained.input_size)
    thin = replace(trained, model=folded.model.to(device), folded={**trained.folded, **folded.folded})
    batch_size = ready.job.config.eval_batch_size
    accuracy = yield from evaluating(thin.model, ready.data, batch_size=batch_size, device=device)
    thin = measured(thin, accuracy, ready.data.info)
    if distributed.is_first():
        save_network(path, thin, force=True)
    yield Saved(path, "deploy")
    return Outcome(
        network=thin,
        path=path,
        accuracies={**accuracies, "folded": accuracy},
        before=ready.before,
        after=count(trace(thin.model, thin.input_size).map),
        target=ready.rule.target,
        masked=ready.rule.macs_of(active),
        lingering=int((~active & (norms >= THRESHOLD)).sum()),
        folded=folded,
    )
