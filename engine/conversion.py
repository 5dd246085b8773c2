"""Weight files into other weight files: other formats, other names, and masked networks made narrow."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ..archs.errors import one_of
from ..weights import formats, names
from ..weights.store import WeightFile
from .compactors.folding import TOLERANCE, Folded, fold
from .errors import EngineError, ProofError
from .graph.channels import ChannelMap, Role
from .graph.cost import count
from .graph.residual import View
from .graph.trace import trace
from .modules.guests import COMPACTORS
from .narrowing.frozen import as_seen
from .narrowing.narrowing import narrow_proven
from .narrowing.surgery import ZERO_CHANNEL
from .network.files import load_network, to_weight_file
from .network.network import Network
from .network.official import PREFIX, official_weights
from .network.plain_weights import check_words
from .selection.selection import Residual

EXTENSIONS = {"deploy": ".hdf5", "hdf5": ".hdf5", "pth": ".pth", "safetensors": ".safetensors"}


@dataclass(frozen=True, eq=False)
class Converted:
    """What conversion did, in words, and the file to write; `folded` has the facts of a folding."""

    action: str
    destination: Path
    weight_file: WeightFile
    folded: Folded | None = None


def convert(
    source: Path,
    destination: Path | None = None,
    *,
    arch: str | None = None,
    input_size: int | tuple[int, ...] | None = None,
    style: str | None = None,
    to: str | None = None,
    fold_bn: bool = False,
    residual: Residual = "coupled",
) -> Converted:
    """Do the obvious with a weight file, or what is asked for.

    Compactors are folded, together with BN, into a narrow network. Filters that are zero throughout leave.
    Files without either change their format: those of another become HDF5 under our names, and HDF5 becomes a
    PyTorch state dict. Whatever becomes smaller is proven to compute the same.

    Args:
        source: a weight file, or `torchvision:NAME` for its official weights.
        destination: by default beside the source; the name says what was done, the suffix the format.
        style: rename the tensors to this foreign style, such as `torchvision`.
        to: one of `EXTENSIONS`: a format; or `deploy`, everything folded, as HDF5 unless the destination says
            otherwise.
        fold_bn: fold BN too where there are no compactors.
        residual: which zero filters leave whose outputs are added into a residual stream: with `coupled`
            those at channels where everything added is zero, with `scatter` all.
    Returns:
        What to write, and where; nothing is written yet.
    Raises:
        EngineError: there is nothing to fold, the destination is of another format, or is the source itself.
        ProofError: what was made computes something else.
        NameStyleError: no such style, or it has no names for this network's tensors.
    """
    if to is not None and to not in EXTENSIONS:
        raise EngineError(one_of("format", to, EXTENSIONS))
    if source.name.startswith(PREFIX):
        network, source = _official(source.name)
    else:
        network = load_network(source, arch, input_size=input_size)
    has_compactors = bool(COMPACTORS.placed(network.model))
    actions, form, folded = [], "", None
    if not has_compactors:  # otherwise a row of zeros is a compactor's, and folding sees to it
        traced = trace(network.model, network.takes)
        seen = as_seen(network, traced, residual)
        if dead := dead_channels(seen.model.state_dict(), seen.traced.map):
            network, action = _narrowed(network, seen, dead)
            actions, form = [action], "-narrow"
    if has_compactors or fold_bn or to == "deploy":
        network, folded = _folded(network, source)
        actions, form = [*actions, _in_words(folded)], "-deploy"

    is_ours = formats.format_of(source) == "hdf5"
    extension = EXTENSIONS[to] if to else ".pth" if is_ours and not form else ".hdf5"
    destination = destination or source.with_name(_stem(source) + form + extension)
    _check_destination(destination, source, to)
    check_words(destination, network)
    if not actions:
        actions = [f"{network.arch} from {formats.format_of(source)} to {formats.format_of(destination)}"]
    if network.made_plain:
        actions = [*actions, f"made plain {len(network.made_plain)} weights that its code computes"]
    network = network.after("convert", {"source": source.name})
    weight_file = _in_style(to_weight_file(network), style)
    return Converted("; ".join(actions), destination, weight_file, folded)


def _official(name: str) -> tuple[Network, Path]:
    """The network with torchvision's official weights, and a source as if they lay in the current folder."""
    official = official_weights(name)
    network = load_network(official.path, official.arch)
    return replace(network, class_names=official.class_names), Path(official.path.name)


def dead_channels(state: Mapping[str, Tensor], channel_map: ChannelMap) -> frozenset[int]:
    """Channels that may leave and whose every producer is zero: masked filters, from whatever tool.

    A filter of zeros behind a BN whose bias still speaks is not dead, and neither is one into which a
    shortcut copies a living channel: removing them would change the network.
    """
    alive, produced = set(channel_map.pinned), set()
    for name, axes in channel_map.axes.items():
        if _is_scaled_mean(name, channel_map):  # it does not matter behind a zero scale
            continue
        for axis in axes:
            if axis.role is Role.PRODUCES:
                rows = state[name].movedim(axis.dim, 0).reshape(len(axis.ids), -1)
                speaks = rows.ne(0).any(dim=1).cpu().numpy()
                alive.update(axis.ids[speaks].tolist())
                produced.update(axis.ids.tolist())
    for index in channel_map.indices:
        if channel_map.axes_of(index.name)[0].role is Role.SELECTS:
            copied = zip(index.own_ids.tolist(), index.values.tolist(), strict=True)
            alive.update(own for own, at in copied if at != ZERO_CHANNEL and index.target_ids[at] in alive)
    dead = produced - alive
    for layer in channel_map.layers:  # one channel of a layer stays, dead or not
        if dead.issuperset(layer.out_ids.tolist()):
            dead.discard(int(layer.out_ids[0]))
    return frozenset(dead)


def _is_scaled_mean(name: str, channel_map: ChannelMap) -> bool:
    owner, _, slot = name.rpartition(".")
    scale = f"{owner}.weight"
    return slot == "running_mean" and channel_map.ties.get(scale, scale) in channel_map.parameters


def _narrowed(network: Network, seen: View, dead: frozenset[int]) -> tuple[Network, str]:
    def choose(channel_map: ChannelMap) -> frozenset[int]:
        return frozenset(dead - set(channel_map.pinned))

    # Nothing is masked here: the narrow network must equal the one in the file.
    full, traced = network.model, seen.traced
    result = narrow_proven(seen.model, traced, network.takes, choose, reference=full, finish=seen.close)
    before, after = count(traced.map), count(traced.map, result.removed)
    filters = sum(int(np.isin(layer.out_ids, list(result.removed)).sum()) for layer in traced.map.layers)
    action = (
        f"removed {filters} masked filters: {before.macs:,} to {after.macs:,} MACs, "
        f"{before.params:,} to {after.params:,} params; narrow equals masked within {result.difference:.1e}"
    )
    return network.after("narrow", {"filters": filters}, model=result.model), action


def _folded(network: Network, source: Path) -> tuple[Network, Folded]:
    try:
        folded = fold(network.model, network.input_size)
    except ProofError:
        raise
    except EngineError as error:
        raise EngineError(f"'{source}' cannot be folded: {error}") from error
    step = {
        "compactors": folded.compactors,
        "bn": len(folded.folded),
        "error": folded.error,
        "cost": folded.cost,
    }
    return (
        network.after(
            "fold",
            step,
            model=folded.model,
            folded={**network.folded, **folded.folded},
            accuracy=network.accuracy if folded.cost <= TOLERANCE else None,
        ),
        folded,
    )


def _in_words(folded: Folded) -> str:
    parts = [f"folded {len(folded.folded)} BN"]
    if folded.compactors:
        parts.append(f"and {folded.compactors} compactors: {folded.macs[0]:,} to {folded.macs[1]:,} MACs,")
        parts.append(f"{folded.params[0]:,} to {folded.params[1]:,} params")
    return " ".join(parts)


def _check_destination(destination: Path, source: Path, to: str | None) -> None:
    if os.path.realpath(destination) == os.path.realpath(source):
        raise EngineError(f"'{source}' would be overwritten by its conversion; name another file")
    if to in (None, "deploy"):
        return
    if formats.format_of(destination) != formats.format_of(f"x{EXTENSIONS[to]}"):
        raise EngineError(f"`to` {to} writes {EXTENSIONS[to]}, not '{destination}'; leave one of them out")


def _in_style(weight_file: WeightFile, style: str | None) -> WeightFile:
    if style is None:
        return weight_file
    return WeightFile(names.from_ours(weight_file.tensors, style), weight_file.meta)


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".pth")
