"""A network with everything needed to use it: built by name, loaded from a file alone, saved whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...archs import registry
from ...archs.registry import ArchError
from ...weights import formats, names, store
from ...weights.errors import first_line
from ...weights.metadata import believed_size, history_of
from ...weights.shortcuts import shortcut_indices
from ...weights.store import WeightFile
from ..devices import first_weight
from ..errors import FitError
from ..modules.blank import without_initialisation
from ..modules.eval_mode import eval_mode
from ..modules.fit import fit, ties_of
from ..modules.guests import COMPACTORS, EXPANSIONS
from .normalization import NORMALIZATION_OF_STYLE
from .recognition import recognise


class UnsaidSize(ArchError):
    """Neither file nor arch nor user says how large a network's images are."""


@dataclass(frozen=True, repr=False)
class Network:
    """A model and the facts a file keeps about it.

    Attributes:
        arch: the name that builds it at full width; empty where nobody has named it.
        input_size: (C, H, W) of its images.
        normalization: `mean` and `std` per channel that its images are normalised with, or None when unknown.
        class_names: in the order of the logits, or empty.
        folded: BN name -> conv it was folded into.
        accuracy: of these very weights, as last measured: `top1`, `top5`, `dataset`, and `data_dir`, where
            the images were then.
        history: how it came about, oldest step first.
        origin: in words, where the weights come from.
        sha256: of the file they were loaded from; the parent of the next step of the history.
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

    @property
    def conv_order(self) -> tuple[str, ...]:
        """The convolutions in the order of ResRep's `deps`, if its arch has one."""
        return self._built_in.conv_order if self._built_in else ()

    def block_of(self, layer_name: str) -> int | None:
        """The number of the block that a layer is in, if its arch says what its blocks are."""
        return self._built_in.block_of(layer_name) if self._built_in else None

    @property
    def is_built_in(self) -> bool:
        """Is it of an arch of ours, whose code follows its channels wherever they go?"""
        return self._built_in is not None

    @property
    def _built_in(self) -> registry.Arch | None:
        return registry.get(self.arch) if self.arch and ":" not in self.arch else None

    def __repr__(self) -> str:
        from .words import described

        return described(self)

    def after(self, command: str, options: Mapping[str, Any], **changes: Any) -> "Network":
        """This network after one more step of its history, with some fields changed."""
        step = {"command": command, "options": dict(options), "parent": self.sha256, "versions": versions()}
        return replace(self, history=(*self.history, step), **changes)


def new_network(
    arch_name: str,
    *,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | int | None = None,
    seed: int = 0,
) -> Network:
    """A network with seeded random weights.

    Args:
        input_size: (C, H, W), or the side of its square images; needed for archs that do not say it.
    Raises:
        ArchError: unknown arch, or it does not say its number of classes or image size and neither is given.
    """
    arch = registry.get(arch_name)
    num_classes = num_classes or arch.num_classes
    if num_classes is None:
        raise ArchError(f"arch '{arch_name}' does not say its number of classes; give `num_classes`")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = arch.build(num_classes)
    size = _input_size(arch, input_size)
    return Network(model, arch.name, num_classes, size, origin=f"random weights, seed {seed}")


def load_network(
    path: str | Path,
    arch_name: str | None = None,
    *,
    input_size: tuple[int, ...] | int | None = None,
    beside: Network | None = None,
) -> Network:
    """Rebuild the network in a weight file: `load_network(path)` alone is enough for files of ours.

    Args:
        arch_name: needed only for files that do not say it and whose names are not recognised.
        input_size: (C, H, W), or the side of its square images; needed for archs that do not say it.
        beside: a network that this one will work with: its arch, trusted already, is taken where the file
            names the same, or names none and is of no arch of ours; and the size of its images, likewise.
    Raises:
        WeightsError: the file cannot be read.
        FitError: it does not go with the arch.
        ArchError: no such arch.
    """
    weight_file = formats.read_any(path)
    if arch_name is None and beside is not None and _is_of(weight_file, beside.arch):
        arch_name = beside.arch
    weight_file, style = _in_our_names(weight_file, arch_name)
    arch = registry.get(_arch_name(weight_file, arch_name, path))
    meta, history = weight_file.meta, history_of(weight_file.meta, str(path))
    num_classes = meta.get("num_classes") or arch.num_classes or _widest_last(weight_file)
    size = input_size or believed_size(meta, str(path)) or arch.input_size
    size = _input_size(arch, beside.input_size if size is None and beside else size)
    folded = meta.get("folded") or {}
    with without_initialisation():
        model = arch.build(num_classes)
    state = {name: torch.from_numpy(array) for name, array in weight_file.tensors.items()}
    COMPACTORS.place_stored(model, state, meta.get("ties"))
    EXPANSIONS.place_stored(model, state)
    try:
        fit(model, state, folded)
        classes = logits_width(model, size)
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
        history=history,
        origin=str(path),
        sha256=store.sha256(path),
    )


def save_network(path: str | Path, network: Network, *, force: bool = False) -> None:
    """Write the network as one file that loads by itself; the suffix says the format.

    Raises:
        ArchError: nobody has named its arch, so no file could say how to build it.
        WeightsError: the path exists already, or cannot be written.
    """
    if not network.arch:
        raise ArchError(
            "this network has no arch, so a file could not say how to build it; wrap it with the function or "
            "class that makes it: arch='package.module:factory'"
        )
    formats.write_any(path, to_weight_file(network), force=force)


def to_weight_file(network: Network) -> WeightFile:
    """The network's tensors and facts, as they go into a file; tied tensors are kept once."""
    ties = ties_of(network.model)
    tensors = {
        name: _array(tensor) for name, tensor in network.model.state_dict().items() if name not in ties
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
    return WeightFile(tensors, meta, _deps(network.conv_order, tensors))


def _array(tensor: Tensor) -> np.ndarray:
    """Floats as files keep them; NumPy has no bfloat16."""
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {name: version(name) for name in ("prune-cnn", "torch", "numpy")}


def _in_our_names(weight_file: WeightFile, arch_name: str | None) -> tuple[WeightFile, str | None]:
    """Rename the tensors of a known foreign style, unless they are for a network with names of its own."""
    style = names.detect(weight_file.tensors)
    if style is None or ":" in (arch_name or weight_file.meta.get("arch") or ""):
        return weight_file, style
    renamed = names.to_ours(weight_file.tensors, style)
    tensors = {**renamed, **shortcut_indices(renamed, style)}
    return WeightFile(tensors, weight_file.meta, weight_file.deps), style


def _arch_name(weight_file: WeightFile, given: str | None, path: str | Path) -> str:
    stored = weight_file.meta.get("arch")
    if given is not None:
        return given
    if isinstance(stored, str):
        family, colon, _ = stored.partition(":")
        if colon and family != "torchvision":
            # Importing what a file names would run whatever the file's author wants.
            raise ArchError(
                f"'{path}' says its network is made by {stored!r}, which is not imported unasked; "
                f"if you trust it, give `arch` {stored}"
            )
        return stored
    found = recognise(weight_file.tensors)
    if len(found) != 1:
        why = f"its names fit {' and '.join(found)}" if found else "its names are not recognised"
        raise ArchError(f"'{path}' does not say its arch, and {why}; name it with `arch`")
    return found[0]


def _is_of(weight_file: WeightFile, arch_name: str) -> bool:
    """Does the file name this arch, or none where none of ours is recognised?"""
    stored = weight_file.meta.get("arch")
    if stored is not None:
        return stored == arch_name
    renamed, _ = _in_our_names(weight_file, None)
    return len(recognise(renamed.tensors)) != 1


def _deps(conv_order: tuple[str, ...], tensors: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The width of every convolution in ResRep's order, where that says what the network is.

    It does not where branches or shortcuts go to chosen channels, nor while compactors hold the widths open.
    """
    if not conv_order or any(".compactor." in name or name.endswith(".index") for name in tensors):
        return None
    return np.array([len(tensors[f"{name}.weight"]) for name in conv_order], dtype=np.int64)


def _input_size(arch: registry.Arch, given: tuple[int, ...] | int | None) -> tuple[int, ...]:
    if isinstance(given, int):
        channels = arch.input_size[0] if arch.input_size else 3
        return (channels, given, given)
    size = given or arch.input_size
    if size is None:
        raise UnsaidSize(f"arch '{arch.name}' does not say the size of its images; give `input_size`")
    return tuple(size)


def _widest_last(weight_file: WeightFile) -> int:
    """The rows of the last matrix: what a classifier's number of classes usually is."""
    matrices = [array for array in weight_file.tensors.values() if array.ndim == 2]
    return matrices[-1].shape[0] if matrices else 1000


def logits_width(model: nn.Module, input_size: tuple[int, ...]) -> int:
    """The number of classes a network tells apart, found by running it on one blank image.

    Raises:
        FitError: it does not run on such an image, which names the module, or it is no classifier.
    """
    like = first_weight(model)
    blank_1CHW = torch.zeros(1, *input_size, dtype=like.dtype, device=like.device)
    reached: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: reached.append(name))
        for name, module in model.named_modules()
    ]
    try:
        with eval_mode(model), torch.no_grad():
            out = model(blank_1CHW)
    except Exception as error:  # whatever the network's own code raises
        size, where = "x".join(map(str, input_size)), f" in '{reached[-1]}'" if any(reached) else ""
        raise FitError(f"it does not run on a {size} image{where}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(out, Tensor) or out.dim() != 2:
        raise FitError("its output is not one row of logits per image; only classifiers are supported")
    return out.shape[1]
