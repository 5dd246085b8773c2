"""A network with everything needed to use it: built by name, loaded from a file alone, saved whole."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..archs import registry
from ..archs.registry import ArchError
from ..weights import formats, names, store
from ..weights.store import WeightFile
from .errors import FitError
from .fit import fit

IMAGENET_NORMALIZATION = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
# Checkpoints in these styles carry no word on it, but were all trained with this normalisation.
NORMALIZATION_OF_STYLE = {"akamaster": IMAGENET_NORMALIZATION, "torchvision": IMAGENET_NORMALIZATION}


@dataclass(frozen=True)
class Network:
    """A model and the facts a file keeps about it.

    Attributes:
        arch: the name that builds it at full width.
        input_size: (C, H, W) of its images.
        normalization: `mean` and `std` per channel that its images are normalised with, or None when unknown.
        class_names: in the order of the logits, or empty.
        folded: BN name -> conv it was folded into.
        accuracy: of these very weights, as last measured: `top1`, `top5`, `dataset`, ...
        history: how it came about, oldest step first.
        origin: in words, where the weights come from.
    """

    model: nn.Module
    arch: str
    num_classes: int
    input_size: tuple[int, ...]
    normalization: Mapping[str, list[float]] | None = None
    class_names: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    accuracy: Mapping[str, Any] | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    origin: str = ""
    sha256: str | None = None

    def after(self, command: str, options: Mapping[str, Any], **changes: Any) -> "Network":
        """This network after one more step of its history, with some fields changed."""
        step = {"command": command, "options": dict(options), "parent": self.sha256, "versions": versions()}
        return replace(self, history=(*self.history, step), **changes)


def new_network(
    arch_name: str,
    *,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Network:
    """A network with seeded random weights.

    Raises:
        ArchError: unknown arch, or it does not say its number of classes or image size and neither is given.
    """
    arch = registry.get(arch_name)
    num_classes = num_classes or arch.num_classes
    if num_classes is None:
        raise ArchError(f"arch '{arch_name}' does not say its number of classes; give --num-classes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = arch.build(num_classes)
    size = _input_size(arch, input_size)
    return Network(model, arch.name, num_classes, size, origin=f"random weights, seed {seed}")


def load_network(
    path: str | Path, arch_name: str | None = None, *, input_size: tuple[int, ...] | None = None
) -> Network:
    """Rebuild the network in a weight file: `load_network(path)` alone is enough for files of ours.

    Args:
        arch_name: needed only for files that do not say it and whose names are not recognised.
        input_size: (C, H, W), for archs that do not say it.
    Raises:
        WeightsError: the file cannot be read. FitError: it does not go with the arch. ArchError: no such arch.
    """
    weight_file = formats.read_any(path)
    weight_file, style = _in_our_names(weight_file, arch_name)
    arch = registry.get(_arch_name(weight_file, arch_name, path))
    meta = weight_file.meta
    num_classes = meta.get("num_classes") or arch.num_classes or _widest_last(weight_file)
    size = _input_size(arch, input_size or tuple(meta.get("input_size") or ()) or None)
    folded = meta.get("folded") or {}
    with _without_initialisation():
        model = arch.build(num_classes)
    state = {name: torch.from_numpy(array) for name, array in weight_file.tensors.items()}
    try:
        fit(model, state, folded)
        classes = _logits_width(model, size)
    except FitError as error:
        raise FitError(f"'{path}' does not go with arch '{arch.name}': {error}") from error
    return Network(
        model.eval(),
        arch.name,
        classes,
        size,
        normalization=meta.get("normalization") or NORMALIZATION_OF_STYLE.get(style or ""),
        class_names=tuple(meta.get("class_names") or ()),
        folded=folded,
        accuracy=meta.get("accuracy"),
        history=tuple(meta.get("history") or ()),
        origin=str(path),
        sha256=store.sha256(path),
    )


def save_network(path: str | Path, network: Network, *, force: bool = False) -> None:
    """Write the network as one file that loads by itself; the suffix says the format.

    Raises:
        WeightsError: the path exists already, or cannot be written.
    """
    formats.write_any(path, to_weight_file(network), force=force)


def to_weight_file(network: Network) -> WeightFile:
    """The network's tensors and facts, as they go into a file; tied tensors are kept once."""
    ties = _ties(network.model)
    tensors = {
        name: tensor.detach().cpu().numpy()
        for name, tensor in network.model.state_dict().items()
        if name not in ties
    }
    meta = {
        "arch": network.arch,
        "num_classes": network.num_classes,
        "input_size": list(network.input_size),
        "normalization": network.normalization,
        "class_names": list(network.class_names),
        "folded": dict(network.folded),
        "ties": ties,
        "accuracy": network.accuracy,
        "history": [dict(step) for step in network.history],
    }
    return WeightFile(tensors, meta)


def recognise(tensors: Mapping[str, Any]) -> str | None:
    """The built-in arch whose tensors have exactly these names, if there is one."""
    keys = {name for name in tensors if not name.endswith((".num_batches_tracked", ".index"))}
    for name in registry.names():
        arch = registry.get(name)
        with torch.device("meta"):
            expected = arch.build(arch.num_classes or 10).state_dict()
        if keys == {key for key in expected if not key.endswith(".num_batches_tracked")}:
            return name
    return None


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {name: version(name) for name in ("prune-cnn", "torch", "numpy")}


def _in_our_names(weight_file: WeightFile, arch_name: str | None) -> tuple[WeightFile, str | None]:
    """Rename the tensors of a known foreign style, unless they are meant for a network with names of its own."""
    style = names.detect(weight_file.tensors)
    if style is None or style in names.OURS or ":" in (arch_name or weight_file.meta.get("arch") or ""):
        return weight_file, style
    renamed = names.rename(weight_file.tensors, style, names.STYLES[style].counterpart)
    return WeightFile(renamed, weight_file.meta, weight_file.deps), style


def _arch_name(weight_file: WeightFile, given: str | None, path: str | Path) -> str:
    stored = weight_file.meta.get("arch")
    if given is not None:
        return given
    if isinstance(stored, str):
        family, colon, _ = stored.partition(":")
        if colon and family != "torchvision":
            # Importing what a file names would run whatever the file's author wants.
            raise ArchError(
                f"'{path}' says its network is made by {stored!r}, which is not imported unasked; if you trust it, give --arch {stored}"
            )
        return stored
    found = recognise(weight_file.tensors)
    if found is None:
        raise ArchError(
            f"'{path}' does not say its arch, and its names are not recognised; name it with --arch"
        )
    return found


def _input_size(arch: registry.Arch, given: tuple[int, ...] | None) -> tuple[int, ...]:
    size = given or arch.input_size
    if size is None:
        raise ArchError(f"arch '{arch.name}' does not say the size of its images; give --image-size")
    return tuple(size)


def _widest_last(weight_file: WeightFile) -> int:
    """The rows of the last matrix: what a classifier's number of classes usually is."""
    matrices = [array for array in weight_file.tensors.values() if array.ndim == 2]
    return matrices[-1].shape[0] if matrices else 1000


def _logits_width(model: nn.Module, input_size: tuple[int, ...]) -> int:
    """Run one blank image, so that tensors that do not go together are found now."""
    training = model.training
    try:
        with torch.no_grad():
            out = model.eval()(torch.zeros(1, *input_size))
    except Exception as error:  # whatever the network's own code raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        size = "x".join(map(str, input_size))
        raise FitError(f"it does not run on a {size} image: {reason}") from error
    finally:
        model.train(training)
    if not isinstance(out, Tensor) or out.dim() != 2:
        raise FitError("its output is not one row of logits per image; only classifiers are supported")
    return out.shape[1]


def _ties(model: nn.Module) -> dict[str, str]:
    first: dict[int, str] = {}
    pairs = [(n, first.setdefault(id(p), n)) for n, p in model.named_parameters(remove_duplicate=False)]
    return {name: original for name, original in pairs if name != original}


@contextmanager
def _without_initialisation() -> Iterator[None]:
    """Build modules without filling parameters that are about to be loaded; other tensors are made as always."""
    fillers = {
        n: f for n, f in vars(nn.init).items() if n.endswith("_") and not n.startswith("_") and callable(f)
    }

    def skipping(fill: Any) -> Any:
        def skip(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return tensor if isinstance(tensor, nn.Parameter) else fill(tensor, *args, **kwargs)

        return skip

    for name, fill in fillers.items():
        setattr(nn.init, name, skipping(fill))
    try:
        yield
    finally:
        for name, fill in fillers.items():
            setattr(nn.init, name, fill)
