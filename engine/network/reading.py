"""What a file says of its network, and what it leaves to others: names, arch, number of classes, inputs."""

from pathlib import Path

from ...archs import registry
from ...archs.registry import ArchError
from ...weights import names
from ...weights.shortcuts import shortcut_indices
from ...weights.store import WeightFile
from ..modules.inputs import Inputs, inputs_of
from .recognition import recognise


class UnsaidSize(ArchError):
    """Neither file nor arch nor user says how large a network's images are."""


def in_our_names(weight_file: WeightFile, arch_name: str | None) -> tuple[WeightFile, str | None]:
    """Rename the tensors of a known foreign style, unless they are for a network with names of its own."""
    style = names.detect(weight_file.tensors)
    if style is None or ":" in (arch_name or weight_file.meta.get("arch") or ""):
        return weight_file, style
    renamed = names.to_ours(weight_file.tensors, style)
    tensors = {**renamed, **shortcut_indices(renamed, style)}
    return WeightFile(tensors, weight_file.meta, weight_file.deps), style


def arch_name_of(weight_file: WeightFile, given: str | None, path: str | Path) -> str:
    """The name of the arch that makes a file's network, its tensors in our names.

    Raises:
        ArchError: nothing says it, or the file names code that nobody asked to import.
    """
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


def is_of(weight_file: WeightFile, arch_name: str) -> bool:
    """Does the file name this arch, or none where none of ours is recognised?"""
    stored = weight_file.meta.get("arch")
    if stored is not None:
        return stored == arch_name
    renamed, _ = in_our_names(weight_file, None)
    return len(recognise(renamed.tensors)) != 1


def size_for(arch: registry.Arch, given: tuple[int, ...] | int | None) -> tuple[int, ...]:
    """(C, H, W) of a network's images: as given, also by their side alone, or what its arch is made for.

    Raises:
        UnsaidSize: neither says it.
    """
    if isinstance(given, int):
        *others, _, _ = arch.input_size or (3, given, given)
        return (*others, given, given)
    size = given or arch.input_size
    if size is None:
        raise UnsaidSize(f"arch '{arch.name}' does not say the size of its images; give `input_size`")
    return tuple(size)


def several(arch: registry.Arch, size: tuple[int, ...]) -> Inputs | None:
    """What a network takes that is called with several images at once; None for the others."""
    one = inputs_of(size)
    return None if arch.images == 1 else Inputs(one.args * arch.images, batch=one.batch)


def widest_last(weight_file: WeightFile) -> int:
    """The rows of the last matrix: what a classifier's number of classes usually is."""
    matrices = [array for array in weight_file.tensors.values() if array.ndim == 2]
    return matrices[-1].shape[0] if matrices else 1000
