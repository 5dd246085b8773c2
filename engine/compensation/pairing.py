"""Which operations of a narrow network correspond to which of the full one, and where the two differ."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..graph.channels import ChannelMap, Role
from ..modules.inputs import inputs_like
from .paths import path_of
from .program import Call, Norm, Program
from .streams import Batch, OneKind

Site = Call | Norm


class Pair(NamedTuple):
    """Both networks, operation by operation; they stay true while weights change in place."""

    full: Program
    narrow: Program

    def that_fit(self, batches: Sequence[OneKind], memory: int) -> Sequence[OneKind]:
        """The first batches, as many as `memory` bytes hold the values of in both networks; at least one."""
        each = (self.full.live_bytes() + self.narrow.live_bytes()) * len(batches[0])
        return batches[: max(1, memory // each)]


def exported(full: nn.Module, narrow: nn.Module, batch: Batch) -> Pair:
    """Follow both networks on calls like `batch`.

    Raises:
        TraceError: one of them cannot be followed.
    """
    takes = inputs_like(batch)
    return Pair(Program(full, takes), Program(narrow, takes))


def changed(dense: Program, thin: Program) -> set[fx.Node]:
    """Tensors of the narrow network that changed parameters have a part in, be it only in their width."""
    full = {name: dense.sources[node] for node, name in dense.names.items()}
    differing = {node for node, name in thin.names.items() if not _same(full.get(name), thin.sources[node])}
    found: set[fx.Node] = set()
    for node in thin.nodes:
        if not found.isdisjoint(node.all_input_nodes) or not differing.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def sites(dense: Program, thin: Program) -> list[tuple[Site, Site]]:
    """Layers, and normalisations behind no such layer, as (full, narrow), in the narrow one's order."""
    calls = {call.layer: call for call in dense.calls}
    norms = {norm.name: norm for norm in dense.norms.values()}
    pairs: list[tuple[Site, Site]] = []
    behind: set[str] = set()
    for call in thin.calls:
        norm = path_of(thin, call, 0).norm
        if call.layer in calls:
            pairs.append((calls[call.layer], call))
            behind |= {norm.name} if norm is not None else set()
    pairs += [
        (norms[norm.name], norm)
        for norm in thin.norms.values()
        if norm.name in norms and norm.name not in behind
    ]
    return sorted(pairs, key=lambda pair: thin.place[pair[1].node])


def site_name(site: Site) -> str:
    """What the layer or normalisation is called in its network."""
    return site.name if isinstance(site, Norm) else site.layer


def unreached(channel_map: ChannelMap, gone: np.ndarray, reached: Collection[str]) -> list[str]:
    """What has lost inputs and is none of the layers in `reached`: layers and other weights, by name."""
    found: list[str] = []
    for tensor, axes in channel_map.axes.items():
        lost = any(axis.role is Role.CONSUMES and gone[axis.ids].any() for axis in axes)
        if lost and tensor in channel_map.parameters and tensor.removesuffix(".weight") not in reached:
            found.append(tensor.removesuffix(".weight"))
    return found


def kept_outputs(channel_map: ChannelMap, gone: np.ndarray, site: Site) -> Tensor | None:
    """Which outputs of a layer of the full network are left, if that is known."""
    if isinstance(site, Norm):
        axes = channel_map.axes_of(f"{site.name}.running_mean")
        ids = axes[0].ids if axes else None
    else:
        name = channel_map.ties.get(site.weight, site.weight).removesuffix(".weight")
        ids = channel_map.layer(name).out_ids if name in set(channel_map.layer_names) else None
    return None if ids is None else torch.from_numpy(np.flatnonzero(~gone[ids]))


def _same(full: Tensor | None, narrow: Tensor) -> bool:
    return full is not None and full.shape == narrow.shape and bool(torch.equal(full, narrow))
