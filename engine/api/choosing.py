"""Which filters leave: scores, and a plan made of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import criteria
from ..errors import AllocationError
from ..graph.known import known_trace
from ..graph.residual import view
from ..graph.trace import Trace
from ..jobs.keywords import Settings, asked_for, refuse_without_effect, settings_for
from ..narrowing.narrowing import narrow_as_planned
from ..narrowing.outcome import Outcome, pinned_layers
from ..narrowing.pruning import choice_of
from ..network.batches import Images, batches_of
from ..network.network import Network
from ..scores import score_file
from ..selection.allocation import Allocation
from ..selection.plan import Plan, plan_of
from .networks import network_of

Scores = Mapping[str, Tensor]


def rank(
    network: Network | Outcome,
    criterion: str,
    *,
    images: Images | None = None,
    limit: int = 5,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Score every filter of every convolution.

    Args:
        network: left as it is.
        criterion: l1, l2, fpgm, hrank, taylor, bn-scale or random.
        images: what hrank and taylor look at: a data set, or any iterable of images_NCHW or (images_NCHW,
            labels_N), normalised as the network wants them.
        limit: batches to look at.
        batch_size: of data sets and lone tensors.
        seed: of the order of a data set, and of the criterion random.

    Returns:
        Per convolution name, scores_F, float64, on the CPU. Small scores leave first.

    Raises:
        CriterionError: an unknown criterion, or no images or labels where it needs them.
        DataError: images that do not go with the network.
    """
    network = network_of(network)
    batches = None
    if images is not None:
        batches = batches_of(images, network, limit=limit, batch_size=batch_size, seed=seed)
    return criteria.score(
        criterion, network.model, known_trace(network.model, network.input_size), batches=batches, seed=seed
    )


def plan(
    network: Network | Outcome,
    scores: Scores | str | Path | None = None,
    *,
    layers: Settings | None = None,
    **wanted: Any,
) -> Plan:
    """Decide which filters leave, and make sure that the network can do without them.

    Args:
        network: left as it is.
        scores: per convolution name, scores_F, or a file or folder of them, which may leave out some: those
            stay whole; those of l1 by default.
        layers: how much leaves, layer by layer: a dictionary from names or globs to shares removed, or a list
            of dictionaries as torch.ao's pruners and NNI take them; see `engine.selection.layer_settings`.
        wanted: how much leaves, said in another way, and its limits, such as `flops=0.5, round_to=8`: the
            fields of one of `engine.allocations`.

    Raises:
        AllocationError: it cannot be met, or a layer that was called by name would keep all its filters.
        CriterionError: the scores do not go with this network.
    """
    network = network_of(network)
    traced = known_trace(network.model, network.input_size)
    settings = None if layers is None else settings_for(layers, network.model, traced.map)
    allocation = asked_for(wanted, settings, traced.map)
    known = _scores(network, traced, scores, allocation)
    if isinstance(scores, str | Path):
        allocation, _ = score_file.skipping_unscored(allocation, traced.map, known)
    allocation = allocation.for_arch(network.arch)
    seen = view(network.model, traced, network.input_size, allocation.residual)
    choice = choice_of(network, allocation, known, seen.traced.map)
    cut = narrow_as_planned(seen.model, seen.traced, network.input_size, choice)
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
