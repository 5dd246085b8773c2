"""A network with everything needed to use it: built by name, loaded from a file alone, saved whole."""

import copy
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
from ...weights import formats, store
from ...weights.metadata import believed_size, history_of
from ...weights.store import WeightFile
from ..errors import FitError
from ..modules.blank import without_initialisation
from ..modules.fit import fit, ties_of
from ..modules.guests import COMPACTORS, EXPANSIONS
from ..modules.inputs import Inputs, Takes
from ..modules.numbers import numbers_of, set_numbers
from ..modules.own_weights import made_plain, make_plain_as_stored
from .normalization import NORMALIZATION_OF_STYLE
from .plain_weights import check_words, plainly
from .reading import arch_name_of, in_our_names, is_of, several, size_for, widest_last
from .trying import answer_of, logits_width

IN_MEMORY = "a network in memory"  # where the weights of one come from that was wrapped


@dataclass(frozen=True, repr=False)
class Network:
    """A model and the facts a file keeps about it.

    Attributes:
        model: what is pruned: the network, or a part of it.
        arch: the name that builds it at full width; empty where nobody has named it.
        num_classes: what its arch is built for; 0 where that is the arch's own business.
        input_size: (C, H, W) of its images; empty where it takes something else.
        inputs: what it is called with, where that is not one batch of images.
        part: the path of `model` in `whole`, where only a part of a network is pruned.
        whole: that network.
        classifies: does it answer with one row of logits per image?
        normalization: `mean` and `std` per channel that its images are normalised with, or None when unknown.
        class_names: in the order of the logits, or empty.
        folded: BN name -> conv it was folded into.
        through_norms: may channels leave through norms over all of them?
        head_dims: do attention heads lose dimensions instead of leaving as a whole?
        made_plain: weights that were computed from others, as weight norm does, and are plain ones now.
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
    inputs: Inputs | None = None
    part: str = ""
    whole: nn.Module | None = None
    classifies: bool = True
    normalization: Mapping[str, list[float]] | None = None
    class_names: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    through_norms: bool = False
    head_dims: bool = False
    made_plain: tuple[str, ...] = ()
    accuracy: Mapping[str, Any] | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    origin: str = ""
    sha256: str | None = None

    @property
    def takes(self) -> Takes:
        """What `model` is called with."""
        return self.inputs or self.input_size

    @property
    def complete(self) -> nn.Module:
        """The whole network, of which `model` may be a part."""
        return self.model if self.whole is None else self.whole

    def holding(self, model: nn.Module) -> "Network":
        """This network with another model in the place of its own."""
        if self.whole is None:
            return replace(self, model=model)
        return replace(self, model=model, whole=copy.deepcopy(self.whole, {id(self.model): model}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever prunes it should know of it."""
        from .words import notes_on

        return notes_on(self)

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
        allowed = {"through_norms": self.through_norms, "head_dims": self.head_dims}
        allowed = {name: True for name, is_so in allowed.items() if is_so and command == "prune"}
        step = {
            "command": command,
            "options": {**options, **allowed},
            "parent": self.sha256,
            "versions": versions(),
        }
        model = changes.pop("model", self.model)
        return replace(self.holding(model), history=(*self.history, step), **changes)


def new_network(
    arch_name: str,
    *,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | int | None = None,
    part: str = "",
    seed: int = 0,
) -> Network:
    """A network with seeded random weights.

    Args:
        input_size: (C, H, W), or the side of its square images; needed for archs that do not say it.
        part: the path of the module that is to be pruned, where that is not the whole network.
    Raises:
        FitError: it has no such part, or does not run.
        ArchError: unknown arch, or it does not say its number of classes or image size and neither is given.
    """
    arch = registry.get(arch_name)
    num_classes = num_classes or arch.num_classes
    if num_classes is None:
        raise ArchError(f"arch '{arch_name}' does not say its number of classes; give `num_classes`")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = arch.build(num_classes)
    size = size_for(arch, input_size)
    origin = f"random weights, seed {seed}"
    network = plainly(Network(model, arch.name, num_classes, size, several(arch, size), origin=origin))
    return network if arch.classifies and not part else tried(parted(network, part))


def load_network(
    path: str | Path,
    arch_name: str | None = None,
    *,
    input_size: tuple[int, ...] | int | None = None,
    part: str | None = None,
    beside: Network | None = None,
) -> Network:
    """Rebuild the network in a weight file: `load_network(path)` alone is enough for files of ours.

    Args:
        arch_name: needed only for files that do not say it and whose names are not recognised.
        input_size: (C, H, W), or the side of its square images; needed for archs that do not say it.
        part: the path of the module that is to be pruned, where the file does not say it.
        beside: a network that this one will work with: its arch, trusted already, is taken where the file
            names the same, or names none and is of no arch of ours; and the size of its images, likewise.
    Raises:
        WeightsError: the file cannot be read.
        FitError: it does not go with the arch.
        ArchError: no such arch.
    """
    weight_file = formats.read_any(path)
    if arch_name is None and beside is not None and is_of(weight_file, beside.arch):
        arch_name = beside.arch
    weight_file, style = in_our_names(weight_file, arch_name)
    arch = registry.get(arch_name_of(weight_file, arch_name, path))
    meta, history = weight_file.meta, history_of(weight_file.meta, str(path))
    said = (meta.get("num_classes"), arch.num_classes)
    num_classes = next((number for number in said if number is not None), widest_last(weight_file))
    inputs = Inputs.from_json(meta["inputs"], str(path)) if meta.get("inputs") else None
    size = input_size or believed_size(meta, str(path)) or arch.input_size
    size = () if inputs else size_for(arch, beside.input_size if size is None and beside else size)
    folded = meta.get("folded") or {}
    with without_initialisation():
        model = arch.build(num_classes)
    state = {name: torch.from_numpy(array) for name, array in weight_file.tensors.items()}
    try:
        make_plain_as_stored(model, state.keys(), meta.get("plain") or ())
        COMPACTORS.place_stored(model, state, meta.get("ties"))
        EXPANSIONS.place_stored(model, state)
        fit(model, state, folded)
        set_numbers(model, meta.get("numbers") or {})
        network = plainly(Network(model.eval(), arch.name, num_classes, size, inputs or several(arch, size)))
        network = tried(parted(network, meta.get("part") or "" if part is None else part))
    except FitError as error:
        raise FitError(f"'{path}' does not go with arch '{arch.name}': {error}") from error
    return replace(
        network,
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
        FitError: a file of this format cannot say which weights are plain that its arch computes.
        WeightsError: the path exists already, or cannot be written.
    """
    if not network.arch:
        raise ArchError(
            "this network has no arch, so a file could not say how to build it; wrap it with the function or "
            "class that makes it: arch='package.module:factory'"
        )
    check_words(path, network)
    formats.write_any(path, to_weight_file(network), force=force)


def to_weight_file(network: Network) -> WeightFile:
    """The network's tensors and facts, as they go into a file; tied tensors are kept once."""
    whole, ties = network.complete, ties_of(network.complete)
    numbers, computed = numbers_of(whole), made_plain(whole)
    tensors = {name: _array(tensor) for name, tensor in whole.state_dict().items() if name not in ties}
    meta = {
        "arch": network.arch,
        "num_classes": network.num_classes,
        "input_size": list(network.input_size),
        "normalization": network.normalization,
        "class_names": list(network.class_names),
        "folded": dict(network.folded),
        "ties": ties,
        **({"inputs": network.inputs.to_json()} if network.inputs and not network.input_size else {}),
        **({"part": network.part} if network.part else {}),
        **({"numbers": numbers} if numbers else {}),
        **({"plain": list(computed)} if computed else {}),
        "accuracy": network.accuracy,
        "history": [dict(step) for step in network.history],
    }
    return WeightFile(tensors, meta, _deps(network.conv_order, tensors))


def parted(network: Network, part: str) -> Network:
    """The network with a part of it in its place.

    Raises:
        FitError: it has no such part, or the part shares a tensor with the rest.
    """
    if not part:
        return network
    whole = network.model
    try:
        model = whole.get_submodule(part)
    except AttributeError:
        known = ", ".join(name for name, module in whole.named_children() if list(module.parameters()))
        raise FitError(f"the network has no `part` '{part}'; its parts are {known}") from None
    inside = {id(tensor) for tensor in model.parameters()}
    rest = [
        (n, t)
        for n, t in whole.named_parameters(remove_duplicate=False)
        if not f"{n}.".startswith(f"{part}.")
    ]
    shared = next((name for name, tensor in rest if id(tensor) in inside), None)
    if shared is not None:
        raise FitError(
            f"'{part}' shares '{shared}' with the rest of the network; name a `part` that has both"
        )
    return replace(network, model=model, whole=whole, part=part)


def tried(network: Network) -> Network:
    """The network, and what it answers when it is called once.

    Raises:
        FitError: it does not run.
    """
    classes = logits_width(answer_of(network.model, network.takes))
    return replace(network, num_classes=classes or network.num_classes, classifies=classes is not None)


def _array(tensor: Tensor) -> np.ndarray:
    """Floats as files keep them; NumPy has no bfloat16."""
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {name: version(name) for name in ("prune-cnn", "torch", "numpy")}


def _deps(conv_order: tuple[str, ...], tensors: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The width of every convolution in ResRep's order, where that says what the network is.

    It does not where branches or shortcuts go to chosen channels, nor while compactors hold the widths open.
    """
    if not conv_order or any(".compactor." in name or name.endswith(".index") for name in tensors):
        return None
    return np.array([len(tensors[f"{name}.weight"]) for name in conv_order], dtype=np.int64)
