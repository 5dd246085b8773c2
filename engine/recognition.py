"""Which network a file without a word on it is of: its tensors' names say."""

import re
from collections.abc import Iterable
from functools import cache

import torch

from ..archs import registry
from .blank import without_initialisation

# Folding takes a unit's BN and gives its convolution a bias; training may add compactors, surgery indices.
_COMES_AND_GOES = re.compile(r"\.(bn\..+|compactor\..+|conv\.bias|index|num_batches_tracked)$")


def recognise(tensor_names: Iterable[str]) -> tuple[str, ...]:
    """The built-in archs with these names, whatever has become of their BN, compactors and indices."""
    found = _lasting(tensor_names)
    return tuple(arch for arch, expected in _lasting_by_arch().items() if expected == found)


@cache
def _lasting_by_arch() -> dict[str, frozenset[str]]:
    with torch.device("meta"), without_initialisation():
        archs = [registry.get(name) for name in registry.names()]
        return {arch.name: _lasting(arch.build(arch.num_classes or 10).state_dict()) for arch in archs}


def _lasting(tensor_names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in tensor_names if not _COMES_AND_GOES.search(name))
