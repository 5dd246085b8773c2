"""A network in a file: loaded from that alone, saved whole."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...archs import registry
from ...archs.registry import ArchError
from ...weights import formats, store
from ...weights.metadata import believed_size, history_of
from ...weights.store import WeightFile
from ..errors import FitError
from ..modules.blank import without_initialisation
from ..modules.fit import fit, ties_of
from ..modules.guests import COMPACTORS, EXPANSIONS
from ..modules.inputs import Inputs
from ..modules.numbers import numbers_of, set_numbers
from ..modules.own_weights import made_plain, make_plain_as_stored
from .network import Network
from .normalization import NORMALIZATION_OF_STYLE
from .part import part_of
from .plain_weights import check_words, plainly
from .reading import arch_name_of, in_our_names, is_of, several, size_for, widest_last
from .trying import tried


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
        network = tried(part_of(network, meta.get("part") or "" if part is None else part))
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


def _array(tensor: Tensor) -> np.ndarray:
    """Floats as files keep them; NumPy has no bfloat16."""
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()


def _deps(conv_order: tuple[str, ...], tensors: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The width of every convolution in ResRep's order, where that says what the network is.

    It does not where branches or shortcuts go to chosen channels, nor while compactors hold the widths open.
    """
    if not conv_order or any(".compactor." in name or name.endswith(".index") for name in tensors):
        return None
    return np.array([len(tensors[f"{name}.weight"]) for name in conv_order], dtype=np.int64)
