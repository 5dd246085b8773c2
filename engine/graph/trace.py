"""Trace a network once and find out which channels go together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import nn
from torch.export import ExportedProgram, export

from ..devices import first_weight
from ..errors import TraceError
from ..modules.inputs import Inputs, Takes, inputs_of
from ..modules.through import norms_in_plain_sight
from .channels import CHANNELS, NO_ID, Axis, ChannelMap, Group, Ids, Layer
from .exporting import followed_with_ease
from .head_dims import tie_views
from .ids import IdPool
from .opaque import MOST, cut_around, module_to_cut
from .places import lines_kept, raised_at
from .records import NodeRecord
from .rules import rule_for
from .taps import Tap, find_taps
from .untraceable import what_stopped
from .walk import OUTPUT, Walk


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """A network's channel map, and the graph it was read from.

    Attributes:
        map: what pruning needs.
        records: every tensor of the graph in forward order; their ids are classes, as in the map.
        taps: per conv name, where its feature map appears after normalisation and activation.
        opaque: the modules that were cut around.
    """

    map: ChannelMap
    records: tuple[NodeRecord, ...]
    taps: Mapping[str, Tap]
    opaque: frozenset[str] = frozenset()

    @cached_property
    def readers(self) -> Mapping[str, list[NodeRecord]]:
        """What reads each tensor of the graph, by its name; an empty list where nothing does."""
        readers: dict[str, list[NodeRecord]] = defaultdict(list)
        for record in self.records:
            for source in record.inputs:
                readers[source].append(record)
        return readers

    def __repr__(self) -> str:
        return f"Trace of {len(self.records)} tensors, {len(self.map.groups)} groups of channels"


def trace(model: nn.Module, takes: Takes) -> Trace:
    """Export `model` for what it takes and give every channel of every tensor an id.

    The model keeps its mode and its weights. What it returns, one tensor or any tree of them, keeps its
    channels. Parameters that evaluation never uses (auxiliary heads) pin the channels they read.

    Args:
        takes: what it is called with; a bare size (C, H, W) is that of images.

    Raises:
        TraceError: torch.export cannot follow the network at all.
    """
    inputs = inputs_of(takes)
    walk = Walk(model, canonical=_canonical_names(model), rule_for=rule_for, batch=inputs.batch)
    walk.run(_export(model, inputs, training=False))
    records, calls = walk.records, dict(walk.calls)
    _pin_unseen(walk, inputs)
    _pin_opaque(walk)
    tie_views(walk)

    resolved = tuple(_resolved(records, walk.pool))
    channel_map = _channel_map(walk, model)
    return Trace(channel_map, resolved, find_taps(resolved, calls, channel_map), frozenset(walk.opaque))


def _resolved(records: Iterable[NodeRecord], pool: IdPool) -> Iterator[NodeRecord]:
    """The records with the classes of their ids; tensors alike, as of a residual stream, share an array."""
    known = dict[tuple[tuple[int, ...], bytes], Ids]()
    for record in records:
        ids = pool.roots(record.value.ids)
        shared = known.setdefault((ids.shape, ids.tobytes()), ids)
        yield replace(record, value=replace(record.value, ids=shared))


def _export(model: nn.Module, inputs: Inputs, *, training: bool) -> ExportedProgram:
    """The graph; modules whose code cannot be followed are cut around, the smallest that there are."""
    given, around = inputs.make(first_weight(model)), dict[str, str]()
    refused: TraceError | None = None
    while True:
        with _mode(model, training), followed_with_ease(model), lines_kept(__file__):
            try:
                with cut_around(model, around, given), norms_in_plain_sight(model):
                    return export(model, given.args, kwargs=dict(given.kwargs), strict=False)
            except Exception as error:  # torch.export raises whatever the network or its own passes raise
                stopped = what_stopped(error, model)
                cut = module_to_cut(model, raised_at(error, model).module)
                refused = refused or TraceError(f"the network cannot be followed on {inputs}: {stopped}")
                known = any(f"{cut}.".startswith(f"{path}.") for path in around)
                if not cut or known or len(around) == MOST:
                    raise refused from error
                around[cut] = stopped


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module into one mode, and back into its own."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


def _canonical_names(model: nn.Module) -> dict[str, str]:
    """Every name of every tensor -> the first name that tensor has."""
    names: dict[str, str] = {}
    first: dict[int, str] = {}
    for kind in (model.named_parameters, model.named_buffers):
        for name, tensor in kind(remove_duplicate=False):
            names[name] = first.setdefault(id(tensor), name)
    return names


def _pin_unseen(walk: Walk, inputs: Inputs) -> None:
    """What feeds or belongs to parameters that evaluation does not use must keep its width."""
    unseen = {name for name, p in walk.model.named_parameters() if p.dim() > 0} - _in_opaque(walk)
    unseen = {walk.canonical[name] for name in unseen} - walk.used
    if not unseen:
        return
    eval_layers, eval_opaque = dict(walk.layers), dict(walk.opaque)
    try:
        walk.run(_in_training(walk.model, inputs))
    except TraceError as error:
        for axis in list(walk.axes.values()):
            walk.pin(
                axis.ids, f"{sorted(unseen)[0]} only runs in training, and training cannot be traced: {error}"
            )
    walk.layers, walk.opaque = eval_layers, {**dict.fromkeys(walk.opaque, 0), **eval_opaque}
    for (name, _), axis in list(walk.axes.items()):
        if name in unseen:
            walk.pin(axis.ids, f"goes with {name}, which only runs in training")


def _in_training(model: nn.Module, inputs: Inputs) -> ExportedProgram:
    """The graph of training; on larger images where auxiliary heads take no smaller ones."""
    try:
        return _export(model, inputs, training=True)
    except TraceError:
        larger = inputs.larger()
        if larger is inputs:
            raise
        return _export(model, larger, training=True)


def _pin_opaque(walk: Walk) -> None:
    """What the code that is cut around may read keeps its width: its own weights, used elsewhere too."""
    own = {walk.canonical[name] for name in _in_opaque(walk)}
    for (name, _), axis in list(walk.axes.items()):
        if name in own:
            walk.pin(axis.ids, f"{name} also belongs to a module that is cut around")


def _in_opaque(walk: Walk) -> set[str]:
    """The parameters and buffers of modules that are cut around, under all their names."""
    inside = tuple(f"{module}." for module in walk.opaque)
    return {name for name in walk.canonical if name.startswith(inside)} if inside else set()


def _channel_map(walk: Walk, model: nn.Module) -> ChannelMap:
    roots = walk.pool.roots
    axes: dict[str, list[Axis]] = defaultdict(list)
    for (name, dim), axis in walk.axes.items():
        axes[name].append(Axis(dim, roots(axis.ids), axis.role))
    pinned: dict[int, str] = {}
    for i, reason in walk.pins.items():
        pinned.setdefault(int(roots(np.array([i]))[0]), reason)
    layers = tuple(
        replace(layer, out_ids=roots(layer.out_ids), in_ids=roots(layer.in_ids))
        for layer in walk.layers.values()
    )
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )
    canonical = {name: tensor for name, tensor in tensors.items() if walk.canonical[name] == name}
    streams = set(roots(np.array(sorted(walk.stream_ids), dtype=np.int64)).tolist())
    bundles = {int(roots(np.array([i]))[0]): what for i, what in walk.bundles.items() if i != NO_ID}
    return ChannelMap(
        shapes={name: tuple(tensor.shape) for name, tensor in canonical.items()},
        parameters=frozenset(n for n, tensor in canonical.items() if isinstance(tensor, nn.Parameter)),
        axes={name: tuple(labelled) for name, labelled in axes.items()},
        layers=layers,
        groups=tuple(_groups(layers, streams, pinned, bundles)),
        indices=tuple(
            replace(index, own_ids=roots(index.own_ids), target_ids=roots(index.target_ids))
            for index in walk.indices.values()
        ),
        ties={name: first for name, first in walk.canonical.items() if name != first},
        pinned=pinned,
        opaque=walk.opaque,
    )


def _groups(
    layers: tuple[Layer, ...], streams: set[int], pinned: Mapping[int, str], bundles: Mapping[int, str]
) -> Iterator[Group]:
    """Producers that share a channel choose together: connected components, in forward order."""
    producers = [layer for layer in layers if layer.kind != "depthwise"]  # that one passes channels on
    pool, owners = IdPool(), dict[int, int]()
    for number, layer in zip(pool.new(len(producers)).tolist(), producers, strict=True):
        sharing = {owners.setdefault(channel, number) for channel in _distinct(layer.out_ids).tolist()}
        pool.unite(np.full(len(sharing), number), np.array(sorted(sharing)))
    members: dict[int, list[Layer]] = defaultdict(list)
    for root, layer in zip(pool.roots(np.arange(len(producers))).tolist(), producers, strict=True):
        members[root].append(layer)  # a class is named by its first producer, so these are in forward order
    for group in members.values():
        channels = _distinct(np.concatenate([layer.out_ids for layer in group]))
        made = [_distinct(layer.out_ids) for layer in group]
        yield Group(
            name=group[0].name,
            channels=channels,
            producers=() if _answers(group, channels, pinned) else tuple(_scoring(group)),
            stream=not streams.isdisjoint(channels.tolist()),
            pinned={c: pinned[c] for c in channels.tolist() if c in pinned},
            parts=tuple(part for part in made if 0 < len(part) < len(channels)),
            unit=bundles[int(channels[0])] if bundles.keys() >= set(channels.tolist()) > set() else CHANNELS,
        )


def _answers(group: list[Layer], channels: Ids, pinned: Mapping[int, str]) -> bool:
    """Is it a linear layer that speaks for the network, and so nobody's to choose from?"""
    return all(layer.kind == "linear" for layer in group) and all(
        pinned.get(c) == OUTPUT for c in channels.tolist()
    )


def _scoring(group: list[Layer]) -> list[str]:
    """The layers whose filters say what a channel is worth; beside real maps, gates on pooled ones do not."""
    convs = [layer for layer in group if layer.kind in ("conv", "transposed")]
    mapped = [layer for layer in group if _has_positions(layer)]
    return [layer.name for layer in mapped or convs or group]


def _has_positions(layer: Layer) -> bool:
    """Is it applied at many places of one image: pixels, tokens?"""
    return layer.positions > 1 if layer.kind == "linear" else max(layer.out_hw, default=1) > 1


def _distinct(ids: Ids) -> Ids:
    """The different ids in the order they first appear."""
    _, first = np.unique(ids, return_index=True)
    distinct = ids[np.sort(first)]
    return distinct[distinct != NO_ID]
