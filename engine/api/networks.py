"""Networks from files and from memory, the images they are for, and what they are made of."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...archs import registry
from ..data import ImageData
from ..errors import FitError
from ..graph import cost
from ..graph.known import known_trace
from ..graph.trace import Trace
from ..modules.blank import without_initialisation
from ..modules.inputs import Inputs
from ..modules.own_weights import made_plain, make_plain_as_stored
from ..modules.plain import fold, unwrapped
from ..narrowing.frozen import in_question, try_without
from ..narrowing.outcome import Outcome
from ..narrowing.reach import Reach, reaching
from ..network import sources
from ..network.files import load_network, save_network
from ..network.network import IN_MEMORY, Network
from ..network.part import part_of
from ..network.plain_weights import plainly
from ..network.trying import in_pairs, tried
from ..network.widened import widened
from ..scores import score_file
from ..selection import plan as plans
from ..selection.plan import Plan
from .keywords import named
from .progress import seen_through

Example = Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any]


@named
def load(
    path: str | Path,
    arch: str | None = None,
    *,
    input_size: tuple[int, ...] | int | None = None,
    through_norms: bool = False,
    head_dims: bool = False,
) -> Network:
    """Read a network from a weight file of any format.

    Args:
        path: of the file; those of ours say everything else themselves.
        arch: a built-in name, torchvision:NAME or package.module:factory, where the file does not say it, or
            names code of yours.
        input_size: (C, H, W) of its images, or the side of square ones, where neither file nor arch says it.
        through_norms, head_dims: as of `wrap`.

    Raises:
        WeightsError: the file cannot be read.
        FitError: it does not go with the arch.
        ArchError: no such arch, or none is known.
    """
    network = load_network(path, arch, input_size=input_size)
    return widened(network, through_norms=through_norms, head_dims=head_dims)


@named
def wrap(
    model: nn.Module,
    input_size: tuple[int, ...] | int | None = None,
    *,
    inputs: Example | None = None,
    part: str = "",
    arch: str = "",
    through_norms: bool = False,
    head_dims: bool = False,
    normalization: Mapping[str, list[float]] | None = None,
    class_names: Iterable[str] = (),
) -> Network:
    """Take a network that is in memory as it is; nothing is copied.

    A network in `nn.DataParallel` or `torch.compile` is taken out of it. Where weights are computed from
    others in each pass (weight norm, spectral norm, other parametrisations, layers whose own code does it, as
    for weight standardisation), it is copied after all: the copy's are plain, which changes no output, and
    the outcome's notes say so.

    Args:
        model: of images_NCHW, or of whatever `inputs` are; it returns one tensor, or any tree of tensors.
        input_size: (C, H, W) of its images, or the side of square ones, with as many channels as the first
            convolution takes.
        inputs: an example of what it is called with where that is not one batch of images: a tensor, a tuple
            of arguments, a dictionary of keywords, or `prune.Inputs.like(args, kwargs)`. Only shapes, types
            and ranges of numbers are remembered. Samples stand along the first axes.
        part: the path of the module that is pruned, where that is not the whole network: sizes and inputs
            are then those of the part, and the rest sees what it saw before.
        arch: what makes it at full width, `package.module:factory` or any name that `load` takes; needed
            only to save what comes of it.
        through_norms: channels may leave norms over all of them (LayerNorm, GroupNorm of one group, RMSNorm,
            LocalResponseNorm), which then take the statistics of those that stay: outputs change by more than
            what leaves.
        head_dims: attention heads lose dimensions, all of them the same, instead of leaving as a whole:
            those of queries and keys together, and those of values. They keep the scale that they have.
        normalization: `mean` and `std` per channel that its images are normalised with.
        class_names: in the order of the logits.

    Raises:
        FitError: it does not run on such inputs, has no such part, norm or heads, or `arch` makes another
            network.
        ArchError: no such arch.
    """
    if (input_size is None) == (inputs is None):
        raise FitError("give either `input_size`, of its images, or `inputs`, an example of what it takes")
    network = part_of(Network(unwrapped(model), arch, 0, (), origin=IN_MEMORY), part)
    if isinstance(input_size, int):
        input_size = (_channels(network.model), input_size, input_size)
    if input_size is not None:
        network = replace(network, input_size=tuple(input_size))
    else:
        network = replace(network, inputs=in_pairs(network.model, looks_of(inputs)))
    network, class_names = tried(plainly(network)), tuple(class_names)
    if len(class_names) not in (0, network.num_classes):
        raise FitError(f"{len(class_names)} class names, and it tells {network.num_classes} classes apart")
    if arch:
        known = registry.get(arch).num_classes or 0
        network = replace(network, num_classes=network.num_classes or known)
        _check_arch(network.complete, arch, network.num_classes)
    network = replace(network, normalization=normalization, class_names=class_names)
    return widened(network, through_norms=through_norms, head_dims=head_dims)


@named
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
    return wanted.open(None if network is None else network_of(network))


@named
def trace(network: Network | Outcome) -> Trace:
    """Find out which channels go together, and which cannot leave, and why: `.map.groups`.

    Raises:
        TraceError: torch.export cannot follow the network.
    """
    network = network_of(network)
    traced = known_trace(network.model, network.takes)
    if network.is_built_in:
        return traced
    tried = try_without(network.model, traced, network.takes, in_question(traced.map))
    return replace(traced, map=tried.map)


@named
def reach(network: Network | Outcome, *, progress: bool = False) -> Reach:
    """Find out what can leave, what holds the rest, and how small the network can get.

    Args:
        network: left as it is.
        progress: show how far it is.

    Returns:
        `.groups` of channels that leave together, in forward order, each with its members and what holds it:
        op, module, line of code, way out; and `.modes`, the smallest network in reach of each residual mode.
        Printed, it is a summary.

    Raises:
        TraceError: torch.export cannot follow the network.
    """
    return seen_through(reaching(network_of(network)), progress)


@named
def count(network: Network | Outcome) -> cost.Cost:
    """What one image, or other sample, costs: `.macs`, `.params`, and `.layers` one by one."""
    network = network_of(network)
    return cost.count(known_trace(network.model, network.takes).map)


@named
def save(
    path: str | Path, what: Network | Outcome | Plan | Mapping[str, Tensor], *, force: bool = False
) -> None:
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
        save_network(path, network_of(what), force=force)


def network_of(given: Any) -> Network:
    """What a function works on: a network, or that of an outcome.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(given, Outcome):
        return given.network
    if isinstance(given, nn.Module):
        raise TypeError(
            "a module does not say the size of its images; wrap it: prune.wrap(model, (3, 32, 32))"
        )
    if not isinstance(given, Network):
        raise TypeError(f"{type(given).__name__} is no network; prune.load and prune.wrap make one")
    return given


def looks_of(example: Example | None) -> Inputs:
    """What a network takes, by an example of it.

    Raises:
        FitError: there is no tensor in it.
    """
    if isinstance(example, Inputs):
        return example
    if isinstance(example, Mapping):
        return Inputs.like((), example)
    return Inputs.like(example if isinstance(example, tuple) else (example,))


def _channels(model: nn.Module) -> int:
    """What the first convolution takes; 3 where there is none."""
    convs = (module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d))
    return next((conv.in_channels for conv in convs), 3)


def _check_arch(model: nn.Module, arch: str, num_classes: int) -> None:
    """What will be saved must be what `load` can build."""
    with without_initialisation():
        built = registry.get(arch).build(num_classes)
        fold(built)
        make_plain_as_stored(built, (), made_plain(model))
    have, made = model.state_dict().keys(), built.state_dict().keys()
    for name in [*have, *made]:
        if name not in have or name not in made:
            without = "the network in memory" if name in made else f"what '{arch}' makes"
            raise FitError(f"'{arch}' makes another network: {without} has no '{name}'")
