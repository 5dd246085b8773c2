"""Which filters leave: scores, and a plan made of them."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import criteria
from ..allocations import allocation_of
from ..errors import AllocationError, CriterionError
from ..events import Event, Working
from ..graph.filters import filters_of, scored_layers
from ..graph.known import known_trace
from ..graph.trace import Trace
from ..narrowing.frozen import as_seen
from ..narrowing.narrowing import narrow_as_planned
from ..narrowing.outcome import Outcome, pinned_layers
from ..narrowing.pruning import as_asked, choice_of
from ..network import sources
from ..network.batches import Images, batches_of
from ..network.network import Network
from ..scores import score_file
from ..selection.allocation import Allocation
from ..selection.amounts import amount
from ..selection.plan import Plan, plan_of
from .keywords import named
from .networks import network_of
from .progress import seen_through
from .settings import Settings, asked_for, refuse_without_effect, settings_for

Scores = Mapping[str, Tensor]
Criterion = Callable[[Tensor], Tensor]

HALF = 0.5  # of the multiply-accumulates stay where nothing else is said


@named
def rank(
    network: Network | Outcome,
    criterion: str | Criterion = "hrank",
    *,
    images: Images | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    limit: int = 5,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Tensor]:
    """Score every filter of every convolution, and every unit of linear layers that can lose some.

    Args:
        network: left as it is.
        criterion: l1, l2, fpgm, hrank, taylor, bn-scale or random; or a function from the weight_FCHW of a
            convolution, or weight_FC of a linear layer, to its scores_F.
        images: what hrank and taylor look at: a data set, or any iterable of images_NCHW or (images_NCHW,
            labels_N), normalised as the network wants them; by default those that it was last measured on.
            Of a network that takes something else, any iterable of such calls, as `wrap` takes an example.
        loss: what taylor differentiates: a function of what the network returns and of its targets (what
            came with the images; of a network that takes something else, the whole item) to one number,
            summed over the samples; by default the cross entropy of logits.
        limit: batches to look at.
        batch_size: of data sets and lone tensors.
        seed: of the order of a data set, and of the criterion random.
        progress: show how far it is.

    Returns:
        Per layer name, scores_F, float64, on the CPU. Small scores leave first.

    Raises:
        CriterionError: an unknown criterion, images or labels that it lacks, or no scores.
        DataError: images that do not go with the network.
    """
    network = network_of(network)
    traced = known_trace(network.model, network.takes)
    if not isinstance(criterion, str):
        return _by_function(criterion, network, traced)
    batches = None
    if (
        images is None
        and criteria.get(criterion).NEEDS == "images"
        and (network.accuracy or {}).get("dataset")
    ):
        images = sources.Images().open(network)
    if images is not None:
        batches = batches_of(images, network, limit=limit, batch_size=batch_size, seed=seed)
    total = 0 if images is None else limit
    work = criteria.scoring(
        criterion, network.model, traced, batches=batches, total=total, seed=seed, loss=loss
    )
    return seen_through(work, progress)


def plan(
    network: Network | Outcome,
    scores: Scores | str | Path | None = None,
    *,
    layers: Settings | None = None,
    progress: bool = False,
    **wanted: Any,
) -> Plan:
    """Decide which filters leave, and make sure that the network can do without them.

    Args:
        network: left as it is.
        scores: per layer name, scores_F, or a file or folder of them, which may leave out some: those
            stay whole; those of l1 by default.
        layers: how much leaves, layer by layer: a dictionary from names or globs to shares removed, or a list
            of dictionaries as torch.ao's pruners and NNI take them; see `engine.selection.layer_settings`.
        wanted: how much leaves, said in another way, and its limits, such as `flops=0.5, round_to=8`: the
            fields of one of `engine.allocations`; budgets also as text, "50%" or "20M". Where nothing says
            how much, half of the multiply-accumulates stay.
        progress: show how far it is.

    Raises:
        AllocationError: it cannot be met, or a layer that was called by name would keep all its filters.
        CriterionError: the scores do not go with this network.
    """
    return seen_through(_plan(network_of(network), scores, layers, _amounts(wanted)), progress)


def _plan(
    network: Network,
    scores: Scores | str | Path | None,
    layers: Settings | None,
    wanted: Mapping[str, Any],
) -> Generator[Event, None, Plan]:
    yield Working(0, 3, "tracing")
    traced = known_trace(network.model, network.takes)
    settings = None if layers is None else settings_for(layers, network.model, traced.map)
    if settings is None and allocation_of(wanted) is None:
        wanted = {**wanted, "flops": HALF}
    allocation = asked_for(wanted, settings, traced.map)
    yield Working(1, 3, "choosing")
    known = _scores(network, traced, scores, allocation)
    if isinstance(scores, str | Path):
        allocation, _ = score_file.skipping_unscored(allocation, traced.map, known)
    else:
        allocation = score_file.skipping_unscored_units(allocation, traced.map, known)
    allocation = allocation.for_arch(network.arch)
    network, traced = as_asked(network, allocation, traced)
    seen = as_seen(network, traced, allocation.residual)
    choice = choice_of(network, allocation, known, seen.traced.map)
    yield Working(2, 3, "cutting")
    cut = narrow_as_planned(seen.model, seen.traced, network.takes, choice)
    if settings is not None:
        refuse_without_effect(settings, choice.selection, pinned_layers(cut.map))
    return plan_of(cut.map, cut.removed, arch=network.arch, residual=allocation.residual)


def _scores(
    network: Network, traced: Trace, given: Scores | str | Path | None, allocation: Allocation
) -> Scores:
    if not allocation.needs_scores:
        if given is not None:
            raise AllocationError(f"scores have no effect with {allocation.way}; leave out one of them")
        return {}
    if given is None:
        return criteria.score("l1", network.model, traced)
    return given if isinstance(given, Mapping) else score_file.load_scores(given, traced.map)


def _by_function(criterion: Criterion, network: Network, traced: Trace) -> dict[str, Tensor]:
    """The scores that a caller's own function gives, each of them looked at."""
    state, scores = network.model.state_dict(), {}
    for layer in scored_layers(traced.map):
        weight_FCHW = filters_of(layer, state[layer.weight])
        scores_F = torch.as_tensor(criterion(weight_FCHW)).detach().double().cpu()
        if scores_F.shape != weight_FCHW.shape[:1] or not scores_F.isfinite().all():
            raise CriterionError(
                f"the criterion gives a tensor of shape {tuple(scores_F.shape)} for '{layer.name}'; "
                f"{len(weight_FCHW)} finite numbers, one per filter, are needed"
            )
        scores[layer.name] = scores_F
    return scores


def _amounts(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with budgets as numbers."""
    budgets = {name: wanted[name] for name in ("flops", "params") if wanted.get(name) is not None}
    return {**wanted, **{name: amount(str(value)) for name, value in budgets.items()}}
