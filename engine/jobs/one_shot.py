"""One-shot pruning as a job: score, choose, cut, prove, re-estimate batch norms, measure at every turn."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from .. import criteria
from ..data import DataInfo, ImageData
from ..data.base import Batch
from ..errors import CriterionError
from ..events import Accuracy, Event, Note
from ..graph.trace import Trace, trace
from ..measure.evaluation import evaluating
from ..measure.recalibrate import recalibrate
from ..narrowing.narrowing import left_alone
from ..narrowing.pruning import Pruned, forecast, prune_network
from ..network.network import Network
from ..scores.score_file import load_scores, skipping_unscored
from ..scores.scoring import scoring_on
from ..selection.allocation import Allocation


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How a network that was narrowed at once is looked at.

    Attributes:
        recalibration: training batches to re-estimate batch norms on; 0 leaves them as they are.
        recipe: the published row that the settings are from; only remembered.
    """

    recalibration: int = 20
    batch_size: int = 128
    eval_batch_size: int = 256
    seed: int = 0
    recipe: str | None = None

    @property
    def origin(self) -> dict[str, object]:
        """For the history: where the settings are from."""
        return {"recipe": self.recipe} if self.recipe else {}


@dataclass(frozen=True, kw_only=True)
class OneShot(Measuring):
    """Settings of the job.

    Attributes:
        criterion: how filters are scored, unless `scores` are saved ones.
        scores: a score file, or a folder of `rank_conv*.npy`.
        limit: batches to score on.
    """

    specification: Allocation
    criterion: str = "l1"
    scores: Path | None = None
    limit: int = 5

    @property
    def needs_images(self) -> bool:
        """Can nothing be chosen without images?"""
        by_criterion = self.specification.needs_scores and self.scores is None
        return by_criterion and criteria.get(self.criterion).NEEDS == "images"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out: accuracies `before`, when `pruned` and, where that was done, `recalibrated`."""

    pruned: Pruned
    network: Network
    accuracies: Mapping[str, Accuracy] = field(default_factory=dict)


def run_one_shot(
    network: Network, job: OneShot, data: ImageData | None, device: torch.device
) -> Generator[Event, None, Outcome]:
    """Prune once. Without images nothing is re-estimated or measured.

    Raises:
        CriterionError: the criterion needs images and there are none.
        AllocationError, ProofError: see `prune_network`.
    """
    if data is None and job.needs_images:
        raise CriterionError(
            f"criterion '{job.criterion}' looks at images; say which with --dataset or --data-dir"
        )
    network.model.to(device)
    traced = trace(network.model, network.input_size)
    if job.specification.needs_scores:  # what cannot be met shows before the scoring, which may take long
        forecast(network, job.specification, traced)
    scores = yield from _scores(network, traced, job, data)
    specification, notes = job.specification, ()
    if job.scores is not None:
        specification, notes = skipping_unscored(specification, traced.map, scores)
    pruned = prune_network(network, specification, scores, traced=traced, options=_options(job))
    for note in (*notes, *left_alone(pruned.misfits), *pruned.notes):
        yield Note(note)
    return (yield from measuring(network, pruned, job, data, device))


def measuring(
    network: Network, pruned: Pruned, job: Measuring, data: ImageData | None, device: torch.device
) -> Generator[Event, None, Outcome]:
    """Measure `network`, then what was made of it, before and after its batch norms are re-estimated.

    Without images, there is nothing to do.
    """
    if data is None:
        return Outcome(pruned, pruned.network)
    thin = pruned.network.model
    accuracies: dict[str, Accuracy] = {}
    stages = {"before": network.model, "pruned": thin, "recalibrated": thin}
    for stage, model in stages.items():
        if stage == "recalibrated":
            if not job.recalibration:
                break
            recalibrate(thin, _batches(data, job, job.recalibration, device))
        accuracies[stage] = yield from evaluating(model, data, batch_size=job.eval_batch_size, device=device)
    last = list(accuracies.values())[-1]
    return Outcome(pruned, measured(pruned.network, last, data.info), accuracies)


def measured(network: Network, accuracy: Accuracy, info: DataInfo) -> Network:
    """The network with what was measured of it, and with its images' normalisation and class names."""
    facts = {"top1": accuracy.top1, "top5": accuracy.top5, "loss": accuracy.loss, "images": accuracy.images}
    return replace(
        network,
        accuracy={**facts, "dataset": info.name},
        normalization={"mean": list(info.mean), "std": list(info.std)},
        class_names=tuple(info.class_names),
    )


def _scores(
    network: Network, traced: Trace, job: OneShot, data: ImageData | None
) -> Generator[Event, None, Mapping[str, Tensor]]:
    if not job.specification.needs_scores:
        return {}
    if job.scores is not None:
        return load_scores(job.scores, traced.map)
    work = scoring_on(
        data,
        job.criterion,
        network.model,
        traced,
        batch_size=job.batch_size,
        limit=job.limit,
        seed=job.seed,
    )
    return (yield from work)


def _batches(data: ImageData, job: Measuring, limit: int, device: torch.device) -> Iterator[Batch]:
    return data.batches("train", job.batch_size, device=device, shuffle_seed=job.seed, limit=limit)


def _options(job: OneShot) -> dict[str, object]:
    chosen_by = {"scores": str(job.scores)} if job.scores else {"criterion": job.criterion, "seed": job.seed}
    scored = chosen_by if job.specification.needs_scores else {}
    return {**scored, "recalibration": job.recalibration, **job.origin}
