"""Where compactors can go in a network, read from its channel map, and putting them there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from ...archs.units import Compactor, ConvBN
from ..errors import EngineError
from ..graph.channels import Group, Ids
from ..graph.normalisation import batch_norms
from ..graph.trace import Trace
from ..modules.guests import COMPACTORS
from ..selection.selection import Residual, prunable_groups
from .remains import Remains, remains


@dataclass(frozen=True, eq=False)
class CompactorTarget:
    """A group whose channels a compactor can remove, without changing what the others compute.

    Attributes:
        name: of the group.
        units: one module per producer, behind which the compactor goes; the first one stores it.
        producers: the convolutions that make the channels, in forward order.
        group: its channels; pinned are also those that would not be zero everywhere with their rows at zero.
        row_ids: (D,), the channel that each row of the compactor makes; rows of one channel leave together.
    """

    name: str
    units: tuple[str, ...]
    producers: tuple[str, ...]
    group: Group
    row_ids: Ids


@dataclass(frozen=True, eq=False)
class Site(CompactorTarget):
    """A target with its compactor in place; `unit` is the module that stores it."""

    compactor: Compactor

    @property
    def unit(self) -> str:
        """The module whose part the compactor is, by name."""
        return self.units[0]


def targets(
    model: nn.Module, traced: Trace, *, residual: Residual = "internal", skip: Sequence[str] = ()
) -> tuple[CompactorTarget, ...]:
    """The groups that can carry a compactor, in forward order.

    Args:
        model: the network without compactors.
        traced: its trace.
        residual: `internal` leaves residual streams alone; in `coupled` all producers of a stream share one
            compactor.
        skip: globs of group or convolution names to leave alone.
    Raises:
        AllocationError: an unknown residual mode, or a glob that matches nothing.
    """
    survey = _CompactorSurvey(model, traced)
    examined = [survey.examine(group) for group in prunable_groups(traced.map, residual, skip)]
    return tuple(found for found in examined if isinstance(found, CompactorTarget))


def refused(model: nn.Module, traced: Trace) -> dict[str, str]:
    """Group name -> why it can carry no compactor, whatever the residual mode."""
    survey = _CompactorSurvey(model, traced)
    examined = {group.name: survey.examine(group) for group in traced.map.groups if group.producers}
    return {name: found for name, found in examined.items() if isinstance(found, str)}


def insert(model: nn.Module, targets: Sequence[CompactorTarget]) -> tuple[Site, ...]:
    """Put a compactor at every target; one that is there already, from a file, stays as it is.

    Raises:
        EngineError: the units of one target hold different compactors.
    """
    present = COMPACTORS.placed(model)
    sites = []
    for target in targets:
        found = {present.get(unit) for unit in target.units}
        if len(found) > 1:
            raise EngineError(
                f"the compactors of {', '.join(target.units)} are not one and the same, as those of one "
                "stream must be; convert the file first, then prune it anew"
            )
        compactor = found.pop()
        if compactor is None:
            compactor = _identity(model, target)
            for unit in target.units:
                COMPACTORS.place(model, unit, compactor)
        sites.append(Site(**vars(target), compactor=compactor))
    return tuple(sites)


def unit_of(model: nn.Module, layer: str, batch_norm_of: Mapping[str, str]) -> str:
    """The module that a layer's filters come out of: its `ConvBN`, or else its BN, or else itself."""
    owner = layer.rpartition(".")[0]
    return owner if isinstance(model.get_submodule(owner), ConvBN) else batch_norm_of.get(layer, layer)


class _CompactorSurvey:
    """One network, asked about group after group."""

    def __init__(self, model: nn.Module, traced: Trace) -> None:
        self._model, self._map = model, traced.map
        self._batch_norm_of = batch_norms(model, traced)
        self._remains: Remains = remains(model, traced)

    def examine(self, group: Group) -> CompactorTarget | str:
        """The target that a group makes, or why it makes none."""
        for producer in group.producers:
            if objection := self._objection(producer):
                return objection
        row_ids = self._map.layer(group.producers[0]).out_ids
        for producer in group.producers:
            if not np.array_equal(self._map.layer(producer).out_ids, row_ids):
                return f"{producer} and {group.producers[0]} do not make the same channels"
        alive = {i: self._remains.alive[i] for i in group.channels.tolist() if i in self._remains.alive}
        group = replace(group, pinned={**alive, **group.pinned})
        if not group.free.any():
            return next(iter(group.pinned.values()))
        units = tuple(unit_of(self._model, producer, self._batch_norm_of) for producer in group.producers)
        return CompactorTarget(group.name, units, group.producers, group, row_ids)

    def _objection(self, producer: str) -> str | None:
        layer = self._map.layer(producer)
        try:
            module = self._model.get_submodule(producer)
        except AttributeError:
            module = None
        if not isinstance(module, nn.Conv2d):
            kind = f"a {type(module).__name__}" if module is not None else "no module"
            return f"{producer} is {kind}, and a compactor stands behind Conv2d modules alone"
        if layer.groups > 1:
            return f"{producer} is a grouped convolution, and a compactor would mix its groups"
        if layer.weight in self._map.ties.values():
            return f"{producer} shares its weight with another module"
        return None


def _identity(model: nn.Module, target: CompactorTarget) -> Compactor:
    """A new compactor, where and of what type the filters before it are."""
    weight = model.get_parameter(f"{target.producers[0]}.weight")
    return Compactor(len(target.row_ids)).to(weight)
