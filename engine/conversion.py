"""Weight files into other weight files: other formats, other names, and masked networks made narrow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..weights import formats, names
from ..weights.store import WeightFile
from .channels import ChannelMap, Role
from .cost import count
from .errors import EngineError
from .graph.trace import trace
from .narrowing import narrow_proven
from .network import Network, load_network, to_weight_file


@dataclass(frozen=True)
class Converted:
    """What conversion did, in words, and the file to write."""

    action: str
    destination: Path
    weight_file: WeightFile


def convert(
    source: Path,
    destination: Path | None = None,
    *,
    arch: str | None = None,
    input_size: tuple[int, int, int] | None = None,
    style: str | None = None,
) -> Converted:
    """Do the obvious with a weight file, or what the destination's suffix asks for.

    A file of another format becomes HDF5 under our names. An HDF5 file with filters that are zero throughout
    becomes narrow, proven to compute the same. Any other HDF5 file becomes a PyTorch state dict.

    Args:
        destination: by default beside the source, its suffix changed.
        style: rename the tensors to this foreign style, such as `torchvision`.
    Returns:
        What to write, and where; nothing is written yet.
    Raises:
        EngineError: the file carries compactors, or would overwrite itself.
        NameStyleError: no such style, or it has no names for this network's tensors.
    """
    if any(".compactor." in name for name in formats.read_any(source).tensors):
        raise EngineError(
            f"'{source}' is in ResRep's training form, with compactors; folding them is not supported"
        )
    network = load_network(source, arch, input_size=input_size)
    dead = dead_channels(network.model.state_dict(), trace(network.model, network.input_size).map)
    is_ours = formats.format_of(source) == "hdf5"
    if dead:
        network, action = _narrowed(network, dead)
        suffix = "-narrow.hdf5"
    else:
        suffix = ".pth" if is_ours else ".hdf5"
        action = f"{network.arch} from {formats.format_of(source)} to "
    destination = destination or source.with_name(_stem(source) + suffix)
    if destination.resolve() == source.resolve():
        raise EngineError(f"'{source}' would be overwritten by its conversion; name another file")
    if not dead:
        action += formats.format_of(destination)
    network = network.after("convert", {"source": source.name})
    return Converted(action, destination, _in_style(to_weight_file(network), style))


def dead_channels(state: Mapping[str, Tensor], channel_map: ChannelMap) -> frozenset[int]:
    """Channels that may leave and whose every producer is zero: masked filters, from whatever tool.

    A filter of zeros behind a BN whose bias still speaks is not dead: removing it would change the network.
    """
    alive: set[int] = set(channel_map.pinned)
    seen: set[int] = set()
    for name, axes in channel_map.axes.items():
        if name not in channel_map.parameters:  # running means do not matter behind a zero scale and bias
            continue
        for axis in axes:
            if axis.role is Role.PRODUCES:
                rows = (
                    state[name].transpose(0, axis.dim).flatten(1)
                    if state[name].dim() > 1
                    else state[name][:, None]
                )
                speaks = rows.ne(0).any(dim=1).cpu().numpy()
                alive.update(axis.ids[speaks].tolist())
                seen.update(axis.ids.tolist())
    dead = seen - alive
    for group in channel_map.groups:  # the last channel of a layer stays, dead or not
        if group.channels.size and dead.issuperset(group.channels.tolist()):
            dead.discard(int(group.channels[0]))
    return frozenset(dead)


def _narrowed(network: Network, dead: frozenset[int]) -> tuple[Network, str]:
    traced = trace(network.model, network.input_size)

    def choose(channel_map: ChannelMap) -> frozenset[int]:
        return frozenset(dead - set(channel_map.pinned))

    result = narrow_proven(network.model, traced, network.input_size, choose)
    before, after = count(traced.map), count(traced.map, result.removed)
    filters = sum(int(np.isin(layer.out_ids, list(result.removed)).sum()) for layer in traced.map.layers)
    action = (
        f"removed {filters} masked filters: {before.macs:,} to {after.macs:,} MACs, "
        f"{before.params:,} to {after.params:,} params; narrow equals masked within {result.difference:.1e}"
    )
    return network.after("narrow", {"filters": filters}, model=result.model), action


def _in_style(weight_file: WeightFile, style: str | None) -> WeightFile:
    if style is None:
        return weight_file
    ours = names.STYLES[style].counterpart if style in names.STYLES else "?"
    return WeightFile(names.rename(weight_file.tensors, ours, style), weight_file.meta)


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".pth")
