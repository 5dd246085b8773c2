"""Scores on disk: a weight file whose keys are layer names, or a folder of HRank's `rank_conv*.npy`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ...archs.errors import nearest
from ...weights.store import WeightFile
from ...weights.store import read as read_weights
from ...weights.store import write as write_weights
from ..errors import CriterionError
from ..graph.channels import ChannelMap
from ..graph.filters import scored_layers
from ..selection.allocation import Allocation, GroupAllocation
from .rank_folder import load_rank_folder


def save_scores(
    path: str | Path, scores: Mapping[str, Tensor], meta: Mapping[str, Any], *, force: bool = False
) -> None:
    """Write scores as a weight file, one tensor per layer, in float32.

    Args:
        path: of the file.
        scores: layer name -> scores_F.
        meta: what made them: criterion, arch, images.
        force: an existing file is replaced.
    """
    tensors = {name: scores_F.numpy().astype(np.float32) for name, scores_F in scores.items()}
    write_weights(path, WeightFile(tensors, {**meta, "kind": "scores"}, None), force=force)


def load_scores(path: str | Path, channel_map: ChannelMap) -> dict[str, Tensor]:
    """Read scores for a network: a weight file, or a folder as HRank publishes them.

    Returns:
        Layer name -> scores_F, float64.

    Raises:
        CriterionError: scores that do not go with this network; names the first layer concerned.
        WeightsError: no sound file.
    """
    layers = {layer.name: len(layer.out_ids) for layer in scored_layers(channel_map)}
    if Path(path).is_dir():
        scores = load_rank_folder(path, channel_map)
    else:
        tensors = read_weights(path).tensors
        scores = {
            name: torch.from_numpy(np.asarray(array, dtype=np.float64)) for name, array in tensors.items()
        }
        _check_names(scores, channel_map, str(path))
    for name, scores_F in scores.items():
        if scores_F.shape != (layers[name],):
            raise CriterionError(
                f"'{path}' has scores of shape {tuple(scores_F.shape)} for '{name}', "
                f"which has {layers[name]} filters"
            )
        if not scores_F.isfinite().all():
            raise CriterionError(f"'{path}' has scores for '{name}' that are not finite")
    return scores


def unscored(channel_map: ChannelMap, scores: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The layers whose filters could be scored and are not, in forward order."""
    return tuple(layer.name for layer in scored_layers(channel_map) if layer.name not in scores)


def skipping_unscored(
    allocation: Allocation, channel_map: ChannelMap, scores: Mapping[str, Tensor]
) -> tuple[Allocation, tuple[str, ...]]:
    """Leave whole what saved scores do not know: a published folder of ranks may stop early.

    Returns:
        The allocation that skips those layers, and a note that names them, if there are any; see `skipping`.
    """
    return skipping(allocation, channel_map, unscored(channel_map, scores), "there are no scores for them")


def skipping_unscored_units(
    allocation: Allocation, channel_map: ChannelMap, scores: Mapping[str, ArrayLike]
) -> Allocation:
    """Leave whole the linear layers that scores at hand do not know, as those of `hrank`."""
    units = [layer.name for layer in scored_layers(channel_map) if layer.kind == "linear"]
    without = tuple(name for name in units if name not in scores)
    return skipping(allocation, channel_map, without, "")[0] if allocation.needs_scores else allocation


def skipping(
    allocation: Allocation, channel_map: ChannelMap, without: Sequence[str], why: str
) -> tuple[Allocation, tuple[str, ...]]:
    """Leave whole the layers in `without`.

    Returns:
        The allocation that skips them, and a note that names them and says why, if there are any. One that
        names every width itself is as it was: it may not need these scores. One that lets linear layers
        alone in any case does so.
    """
    if not isinstance(allocation, GroupAllocation):
        return allocation, ()
    if not allocation.takes_linear:
        without = [name for name in without if channel_map.layer(name).kind != "linear"]
    if not without:
        return allocation, ()
    note = f"left whole, as {why}: {', '.join(without)}"
    return replace(allocation, skip=(*allocation.skip, *without)), (note,)


def _check_names(scores: Mapping[str, Tensor], channel_map: ChannelMap, path: str) -> None:
    """Every name is a layer of the network, and every convolution that can be pruned has scores."""
    known = [layer.name for layer in scored_layers(channel_map)]
    for name in scores:
        if name not in known:
            raise CriterionError(
                f"'{path}' has scores for '{name}', which is no layer with filters of its own here; "
                f"{nearest(name, known)}"
            )
    needed = [name for group in channel_map.groups if group.free.any() for name in group.producers]
    missing = [name for name in needed if name not in scores and channel_map.layer(name).kind != "linear"]
    if missing:
        others = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise CriterionError(f"'{path}' has no scores for '{missing[0]}'{others}; rank this network again")
