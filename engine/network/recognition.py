"""Which network a file without a word on it is of: its tensors' names say."""

import re
from collections.abc import Iterable, Set
from functools import cache

import torch

from ...archs import registry
from ..modules.blank import without_initialisation

# Training may add compactors, surgery indices; old files have no counters.
_COMES = re.compile(r"\.(compactor\..+|index|num_batches_tracked)$")
# Folding takes a unit's BN and gives its convolution a bias.
_FOLDED = re.compile(r"\.(bn\..+|conv\.bias)$")


def recognise(tensor_names: Iterable[str]) -> tuple[str, ...]:
    """The built-in archs with these names, whatever has become of their BN, compactors and indices.

    Where archs differ only in what folding changes, those that need no folding to have these names are meant.
    """
    found = _without(_COMES, tensor_names)
    lasting = _without(_FOLDED, found)
    archs = [arch for arch, names in _lasting_by_arch().items() if names == lasting]
    return tuple(arch for arch in archs if _names_by_arch().get(arch) == found) or tuple(archs)


@cache
def _names_by_arch() -> dict[str, Set[str]]:
    with torch.device("meta"), without_initialisation():
        archs = [registry.get(name) for name in registry.names()]
        return {
            arch.name: _without(_COMES, arch.build(arch.num_classes or 10).state_dict()) for arch in archs
        }


@cache
def _lasting_by_arch() -> dict[str, Set[str]]:
    return {arch: _without(_FOLDED, names) for arch, names in _names_by_arch().items()}


def _without(pattern: re.Pattern[str], names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if not pattern.search(name))
