"""A specification from what Python callers pass: keywords, lists of numbers, settings per layer."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from ..allocations.specification import Specification
from ..errors import AllocationError
from ..graph.channels import ChannelMap
from ..graph.filters import scored_layers
from ..selection.layer_settings import LayerSettings, read_layer_settings
from ..selection.selection import Selection

Settings = Mapping[str, float] | Iterable[Mapping[str, Any]]


def specification_of(
    wanted: Mapping[str, Any], layers: LayerSettings | None, channel_map: ChannelMap
) -> Specification:
    """The specification that keywords and settings per layer come to.

    Args:
        wanted: fields of `Specification`; lists of rates may be numbers, lone texts stand for one in a list.
        layers: what leaves each layer, and which must keep all filters.
        channel_map: of the network.

    Raises:
        AllocationError: keywords that exclude each other, or values out of range.
    """
    fields = {name: _in_its_form(name, value) for name, value in wanted.items()}
    if layers is not None:
        fields["layer_rates"] = tuple(f"{name}={rate}" for name, rate in layers.rates.items())
        fields["skip"] = (*fields.get("skip", ()), *_skips(layers.excluded, channel_map))
    return Specification(**fields)


def settings_for(settings: Settings, model: nn.Module, channel_map: ChannelMap) -> LayerSettings:
    """Settings per layer, spread over the convolutions of a network; see `read_layer_settings`."""
    modules = dict(model.named_modules())
    layers = {layer.name: type(modules.get(layer.name)).__name__ for layer in scored_layers(channel_map)}
    return read_layer_settings(settings, layers)


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
    """What `skip` calls these convolutions: their own names, or those of the groups that choose for them."""
    choosing = {name for group in channel_map.groups for name in group.producers}
    for name in excluded:
        if name in choosing:
            yield name
        else:
            ids = channel_map.layer(name).out_ids
            yield from (group.name for group in channel_map.groups if np.isin(group.channels, ids).any())


def _in_its_form(name: str, value: Any) -> Any:
    """A keyword's value as `Specification` keeps it."""
    if name in ("compress_rate", "keep_rate") and isinstance(value, list | tuple):
        return "+".join(f"[{float(rate)}]" for rate in value)
    if name in ("skip", "layer_rates") and isinstance(value, str):
        return (value,)
    if name in ("skip", "layer_rates", "deps") and value is not None:
        return tuple(value)
    return value
