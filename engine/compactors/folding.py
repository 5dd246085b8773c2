"""From a network with compactors or BN to the narrow network of plain convolutions that computes the same."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...archs.units import Compactor
from ..errors import EngineError, ProofError
from ..graph.channels import NO_ID, ChannelMap, Group, Ids
from ..graph.cost import count
from ..graph.trace import trace
from ..modules.guests import COMPACTORS
from ..modules.inputs import BATCH
from ..narrowing.narrowing import narrow_proven
from ..narrowing.thin import kept_filters
from .bias_absorption import absorb_into_biases, constants_of_dead_channels
from .fusing import compactors_by_layer, foldable_norms, fuse
from .remains import Remains, remains

THRESHOLD = 1e-5  # a row that is shorter makes nothing
TOLERANCE = 1e-5  # relative, of logits
NOTICEABLE = 1e-3

RowNorms = Mapping[str, NDArray[np.float64]]  # convolution -> norms_D, joint where rows make one channel


@dataclass(frozen=True, eq=False)
class Folded:
    """A network without compactors and BN, and the proof that it computes the same.

    Attributes:
        model: on the CPU, float32, in evaluation mode.
        folded: BN name -> the layer it went into.
        compactors: how many compactors there were.
        widths: of every narrowed convolution, its filters before and after.
        kept: of every convolution, the positions of the filters that stay.
        macs: before and after.
        params: before and after; before, with BN and compactors folded but all channels there.
        error: largest difference of the logits once the rows that left are zero in the compactors, relative
            to the largest logit.
        cost: the same with the compactors as they were: what it costs that small rows are not zero.
        notes: what did not go by the row norms alone, in words.
    """

    model: nn.Module
    folded: dict[str, str]
    compactors: int
    widths: dict[str, tuple[int, int]]
    kept: dict[str, list[int]]
    macs: tuple[int, int]
    params: tuple[int, int]
    error: float
    cost: float
    notes: tuple[str, ...]


def fold(model: nn.Module, input_size: tuple[int, ...], *, threshold: float = THRESHOLD) -> Folded:
    """Fold every BN and compactor into the layer before it, and drop the channels of short compactor rows.

    Ding et al., ICCV 2021, arXiv 2007.03260, section 3.2. Everything is computed in float64 and stored in
    float32. Rows decide by their norm alone, masks are only compared with them. What a dropped channel leaves
    behind a depthwise convolution, a constant, goes into the bias of the layer that reads it; where no bias
    can make up for a channel, it stays.

    Departs from the authors' code: of a linear layer behind a map of H x W pixels the channel's own H * W
    columns leave, where theirs removes others.

    Args:
        model: with compactors, BN, or both; it is left as it is.
        input_size: (C, H, W) of its images.
        threshold: a channel leaves if the joint norm of its rows is smaller.
    Raises:
        EngineError: there is nothing to fold, or a compactor stands where it cannot be folded.
        ProofError: the folded network computes something else.
    """
    trained = copy.deepcopy(model).cpu().double().eval()
    traced = trace(trained, input_size)
    batch_norm_of = foldable_norms(trained, traced)
    compactor_of = compactors_by_layer(trained, traced, batch_norm_of)
    if not batch_norm_of and not compactor_of:
        raise EngineError("there are neither compactors nor a BN that follows one layer and nothing else")

    wide = fuse(copy.deepcopy(trained), batch_norm_of, compactor_of)
    traced = trace(wide, input_size)
    left = remains(wide, traced)
    norms = {name: _joint_norms(c, traced.map.layer(name).out_ids) for name, c in compactor_of.items()}
    notes: list[str] = []
    dead = _dead_channels(traced.map, norms, left, threshold, notes)
    result = narrow_proven(wide, traced, input_size, lambda channel_map: dead - channel_map.pinned.keys())
    notes += [f"what would have left stays: {reason}" for reason in result.misfits]
    notes += _disagreements(trained, compactor_of, norms, threshold)

    gone = traced.map.removal_mask(result.removed)
    taken = constants_of_dead_channels(wide, traced.map, left.takers, gone, _images(input_size))
    absorb_into_biases(result.model, taken, traced.map, gone)
    narrow = result.model.float()
    error, cost = _prove(trained, narrow, compactor_of, traced.map, gone, _images(input_size))
    before, after = count(traced.map), count(traced.map, result.removed)
    return Folded(
        narrow,
        {norm: layer for layer, norm in batch_norm_of.items()},
        len(set(compactor_of.values())),
        {b.name: (b.out, a.out) for b, a in zip(before.layers, after.layers, strict=True) if a.out < b.out},
        kept_filters(traced.map, result.removed),
        (before.macs, after.macs),
        (before.params, after.params),
        error,
        cost,
        tuple(notes),
    )


def _joint_norms(compactor: Compactor, ids_D: Ids) -> NDArray[np.float64]:
    """Per row, the norm of all rows that make its channel; single rows as float32 has them."""
    norms_D = compactor.pwc.weight.detach().float().flatten(1).norm(dim=1).double().numpy()
    _, channel_D = np.unique(ids_D, return_inverse=True)
    if len(np.unique(channel_D)) == len(ids_D):
        return norms_D
    return np.sqrt(np.bincount(channel_D, weights=norms_D**2))[channel_D]


def _dead_channels(
    channel_map: ChannelMap, norms: RowNorms, left: Remains, threshold: float, notes: list[str]
) -> frozenset[int]:
    """The channels all of whose rows are short, and that can leave; of every group at least one stays."""
    dead: set[int] = set()
    for group in channel_map.groups:
        norm_of = _channel_norms(channel_map, group, norms)
        short = {channel for channel, norm in norm_of.items() if norm < threshold}
        if short and len(short) == len(group.channels):
            longest = max(norm_of, key=lambda channel: norm_of[channel])
            short.remove(longest)
            notes.append(f"{group.name}: all rows are shorter than {threshold:g}; the longest stays")
        reasons = {**left.alive, **group.pinned}
        stay = {channel: reasons[channel] for channel in short if channel in reasons}
        if stay:
            notes.append(f"{group.name}: {len(stay)} dead channels stay: {next(iter(stay.values()))}")
        dead |= short - stay.keys()
    return frozenset(dead)


def _channel_norms(channel_map: ChannelMap, group: Group, norms: RowNorms) -> dict[int, float]:
    """Channel -> its norm, the largest of its producers'; without an entry where one has no compactor."""
    found: dict[int, float] = {}
    free: set[int] = set()
    for producer in group.producers:
        ids = channel_map.layer(producer).out_ids.tolist()
        if producer not in norms:
            free.update(ids)
            continue
        for channel, norm in zip(ids, norms[producer].tolist(), strict=True):
            found[channel] = max(norm, found.get(channel, 0.0))
    return {channel: norm for channel, norm in found.items() if channel not in free and channel != NO_ID}


def _disagreements(
    model: nn.Module, compactor_of: Mapping[str, Compactor], norms: RowNorms, threshold: float
) -> list[str]:
    """Where masks say something else than norms."""
    layer_of = {compactor: layer for layer, compactor in compactor_of.items()}
    notes = []
    for unit, compactor in COMPACTORS.placed(model).items():
        if compactor not in layer_of:  # told of already, at the first of the units that share it
            continue
        short = norms[layer_of.pop(compactor)] < threshold
        masked = compactor.mask.numpy() == 0
        if (short != masked).any():
            notes.append(
                f"{unit}: masks and row norms disagree, and norms decide: {int((masked & ~short).sum())} "
                f"masked rows are not short, {int((short & ~masked).sum())} short rows are not masked"
            )
    return notes


@torch.no_grad()
def _prove(
    trained: nn.Module,
    narrow: nn.Module,
    compactor_of: Mapping[str, Compactor],
    channel_map: ChannelMap,
    gone: NDArray[np.bool_],
    images_NCHW: Tensor,
) -> tuple[float, float]:
    """Compare logits, first with the dropped rows at zero, then as they are; `trained` is left with zeros."""
    logits_NK = copy.deepcopy(narrow).double()(images_NCHW)
    as_trained_NK = trained(images_NCHW)
    for layer, compactor in compactor_of.items():
        rows = torch.from_numpy(np.flatnonzero(gone[channel_map.layer(layer).out_ids]))
        compactor.pwc.weight.index_fill_(0, rows, 0)
    error = _difference(trained(images_NCHW), logits_NK)
    if not error <= TOLERANCE:
        raise ProofError(
            f"the folded network's logits are {error:.1e} off the original's (allowed {TOLERANCE:.0e}); "
            "nothing was written. Look for values that are not finite with `prune inspect`, or report this."
        )
    return error, _difference(as_trained_NK, logits_NK)


def _difference(expected_NK: Tensor, found_NK: Tensor) -> float:
    return float((expected_NK - found_NK).abs().max() / expected_NK.abs().max().clamp_min(1e-30))


def _images(input_size: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, *input_size, generator=generator, dtype=torch.float64)
