"""What `import prune` offers: from a network in memory over scores and a plan to a narrow network.

Each function takes a `Network`, as `load` and `wrap` return, or an `Outcome`, as `prune` does.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..archs import registry
from . import criteria
from .allocations.plan import Planned
from .data import ImageData
from .devices import device_of
from .errors import AllocationError, FitError
from .events import Accuracy
from .graph import cost
from .graph import trace as graph
from .graph.residual import view
from .graph.trace import Trace
from .jobs.keywords import Settings, asked_for, refuse_without_effect, settings_for
from .measure import evaluation
from .measure import recalibrate as norms
from .modules.blank import without_initialisation
from .narrowing.narrowing import narrow_as_planned
from .narrowing.outcome import Outcome, pinned_layers
from .narrowing.pruning import choice_of, prune_network
from .network import sources
from .network.batches import Images, batches_of
from .network.matching import matched
from .network.network import Network, load_network, logits_width, save_network
from .scores import score_file
from .selection import plan as plans
from .selection.allocation import Allocation
from .selection.plan import Plan, plan_of

Scores = Mapping[str, Tensor]

load = load_network


def wrap(
    model: nn.Module,
    input_size: tuple[int, ...],
    *,
    arch: str = "",
    normalization: Mapping[str, list[float]] | None = None,
    class_names: Iterable[str] = (),
) -> Network:
    """Take a network that is in memory as it is; nothing is copied.

    Args:
        model: images_NCHW -> logits_NK.
        input_size: (C, H, W) of its images.
        arch: what makes it at full width, `package.module:factory` or any name that `load` takes; needed
            only to save what comes of it.
        normalization: `mean` and `std` per channel that its images are normalised with.
        class_names: in the order of the logits.

    Raises:
        FitError: it does not run on such images, is no classifier, or `arch` makes another network.
        ArchError: no such arch.
    """
    num_classes = logits_width(model, input_size)
    if arch:
        _check_arch(model, arch, num_classes)
    return Network(
        model,
        arch,
        num_classes,
        tuple(input_size),
        normalization=normalization,
        class_names=tuple(class_names),
        origin="a network in memory",
    )


def images(
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    *,
    network: Network | Outcome | None = None,
    image_size: int | None = None,
    download: bool = False,
    workers: int = 0,
    classes_by_position: bool = False,
) -> ImageData:
    """Open a data set or a folder of images, normalised as `network` wants them.

    Args:
        dataset: digits, cifar10, ...; by default a folder's, or the one that the network was measured on.
        data_dir: where it lies.
        network: what the images are for; the two are checked to go together.
        image_size: side that the images of a folder are resized to, in pixels.
        download: whether CIFAR may be fetched.
        workers: processes that decode images.
        classes_by_position: the first class is the network's first, whatever the two call it.

    Raises:
        DataError: no such images, or they do not go with the network.
    """
    folder = None if data_dir is None else Path(data_dir)
    wanted = sources.Images(dataset, folder, image_size, download, workers, classes_by_position)
    return wanted.open(None if network is None else _network(network))


def trace(network: Network | Outcome) -> Trace:
    """Find out which channels go together: `.map.groups`.

    Raises:
        TraceError: torch.export cannot follow the network.
    """
    network = _network(network)
    return graph.trace(network.model, network.input_size)


def count(network: Network | Outcome) -> cost.Cost:
    """What one image costs: `.macs`, `.params`, and `.layers` one by one."""
    return cost.count(trace(network).map)


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
    network = _network(network)
    batches = None
    if images is not None:
        batches = batches_of(images, network, limit=limit, batch_size=batch_size, seed=seed)
    return criteria.score(criterion, network.model, trace(network), batches=batches, seed=seed)


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
    network = _network(network)
    traced = trace(network)
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


def prune(network: Network | Outcome, plan: Plan | str | Path) -> Outcome:
    """Make a narrow network, proven to equal the full one with the same filters masked.

    Args:
        network: left as it is.
        plan: which filters stay, or a file of it.

    Returns:
        The narrow network: `.model` is a module, `.network` can be saved, `.before` and `.after` say what an
        image costs, `.difference` how exactly it was proven. Its batch norms are those of the full one; see
        `recalibrate`.

    Raises:
        AllocationError: the plan is for another network.
        ProofError: the narrow network would compute something else.
    """
    return prune_network(_network(network), Planned(plan=_path_or(plan)), {})


def recalibrate(
    network: Network | Outcome,
    images: Images,
    *,
    limit: int | None = 20,
    batch_size: int = 128,
    seed: int = 0,
) -> int:
    """Re-estimate the statistics of all batch norms, in place: narrower inputs have others.

    Args:
        network: its model changes.
        images: as `rank` takes them; labels are not looked at.
        limit: batches to look at; None for all.
        batch_size: of data sets and lone tensors.
        seed: of the order of a data set.

    Returns:
        How many batch norms there are.

    Raises:
        DataError: no images, or they do not go with the network.
    """
    network = _network(network)
    batches = batches_of(images, network, limit=limit, batch_size=batch_size, seed=seed)
    return norms.recalibrate(network.model, batches)


def evaluate(network: Network | Outcome, data: ImageData, *, batch_size: int = 256) -> Accuracy:
    """Top-1, top-5 (from 10 classes up) and loss on the test images of a data set.

    Raises:
        DataError: network and images do not go together.
    """
    network = _network(network)
    data = matched(network, data)
    return evaluation.evaluate(network.model, data, batch_size=batch_size, device=device_of(network.model))


def save(path: str | Path, what: Network | Outcome | Plan | Scores, *, force: bool = False) -> None:
    """Write a network, a plan or scores into a file, whole or not at all.

    Args:
        path: of the file; of a network, the suffix says the format: .hdf5, .pth or .safetensors.
        what: networks go to `load`, plans to `prune`, scores to `plan`.
        force: an existing file is replaced.

    Raises:
        ArchError: a network that was wrapped without `arch`.
        WeightsError: the path exists already, or cannot be written.
    """
    if isinstance(what, Plan):
        plans.write(path, what, force=force)
    elif isinstance(what, Mapping):
        score_file.save_scores(path, what, {}, force=force)
    else:
        save_network(path, _network(what), force=force)


def _network(given: Any) -> Network:
    if isinstance(given, Outcome):
        return given.network
    if isinstance(given, nn.Module):
        raise TypeError(
            "a module does not say the size of its images; wrap it: prune.wrap(model, (3, 32, 32))"
        )
    if not isinstance(given, Network):
        raise TypeError(f"{type(given).__name__} is no network; prune.load and prune.wrap make one")
    return given


def _check_arch(model: nn.Module, arch: str, num_classes: int) -> None:
    """What will be saved must be what `load` can build."""
    with without_initialisation():
        built = registry.get(arch).build(num_classes)
    have, made = model.state_dict().keys(), built.state_dict().keys()
    for name in [*have, *made]:
        if name not in have or name not in made:
            without = "the network in memory" if name in made else f"what '{arch}' makes"
            raise FitError(f"'{arch}' makes another network: {without} has no '{name}'")


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


def _path_or(plan: Plan | str | Path) -> Plan | Path:
    return plan if isinstance(plan, Plan) else Path(plan)
