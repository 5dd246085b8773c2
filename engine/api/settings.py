"""An allocation from what Python callers pass: keywords, and settings per layer."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from .. import allocations
from ..errors import AllocationError
from ..graph.channels import ChannelMap
from ..graph.filters import narrowed_layers
from ..selection.allocation import Allocation
from ..selection.layer_settings import LayerSettings, read_layer_settings
from ..selection.selection import Selection

Settings = Mapping[str, float] | Iterable[Mapping[str, Any]]


def asked_for(wanted: Mapping[str, Any], layers: LayerSettings | None, channel_map: ChannelMap) -> Allocation:
    """The allocation that keywords and settings per layer come to.

    Args:
        wanted: settings, as `allocations.allocation_of` takes them.
        layers: what leaves each layer, and which must keep all filters.
        channel_map: of the network.

    Raises:
        AllocationError: none or several ways of saying what leaves, or values out of range.
    """
    settings = dict(wanted)
    if layers is not None:
        settings["layer_rates"] = tuple(f"{name}={rate}" for name, rate in layers.rates.items())
        skip = settings.get("skip") or ()
        also = (skip,) if isinstance(skip, str) else skip
        settings["skip"] = (*also, *_skips(layers.excluded, channel_map))
    return allocations.required(settings)


def settings_for(settings: Settings, model: nn.Module, channel_map: ChannelMap) -> LayerSettings:
    """Settings per layer, spread over the layers of a network; see `read_layer_settings`."""
    modules = dict(model.named_modules())
    owner = {layer.name: layer.weight.rpartition(".")[0] for layer in narrowed_layers(channel_map)}
    kinds = {name: type(modules[module]).__name__ for name, module in owner.items()}
    return read_layer_settings(settings, kinds)


def refuse_without_effect(layers: LayerSettings, selection: Selection, pinned: Mapping[str, str]) -> None:
    """A layer that was called by name is meant: it must not silently keep all its filters.

    Args:
        layers: what was asked for.
        selection: what came of it.
        pinned: per layer, why its channels cannot leave.

    Raises:
        AllocationError: names the first such layer, and the reason.
    """
    for name in selection.ignored:
        if name in layers.named and layers.rates[name] > 0:
            stays = "it is added into a residual stream: choose residual='coupled' or 'scatter'"
            raise AllocationError(
                f"layer '{name}' keeps all its filters: {pinned.get(name, stays)}; or give it no rate"
            )


def _skips(excluded: Iterable[str], channel_map: ChannelMap) -> Iterable[str]:
    """What `skip` calls these layers: their own names, or those of the groups that choose for them."""
    choosing = {name for group in channel_map.groups for name in group.producers}
    for name in excluded:
        if name in choosing:
            yield name
        else:
            ids = channel_map.layer(name).out_ids
            yield from (group.name for group in channel_map.groups if np.isin(group.channels, ids).any())
