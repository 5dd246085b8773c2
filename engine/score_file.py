"""Scores on disk: a weight file whose keys are convolution names, or a folder of HRank's `rank_conv*.npy`."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..weights.files import require_file
from ..weights.store import WeightFile
from ..weights.store import read as read_weights
from ..weights.store import write as write_weights
from .channels import ChannelMap
from .errors import CriterionError
from .filters import scored_layers


def save_scores(
    path: str | Path, scores: Mapping[str, Tensor], meta: Mapping[str, Any], *, force: bool = False
) -> None:
    """Write scores as a weight file, one tensor per convolution, in float32.

    Args:
        path: of the file.
        scores: convolution name -> scores_F.
        meta: what made them: criterion, arch, images.
        force: an existing file is replaced.
    """
    tensors = {name: scores_F.numpy().astype(np.float32) for name, scores_F in scores.items()}
    write_weights(path, WeightFile(tensors, {**meta, "kind": "scores"}, None), force=force)


def load_scores(path: str | Path, channel_map: ChannelMap) -> dict[str, Tensor]:
    """Read scores for a network: a weight file, or a folder as HRank publishes them.

    Returns:
        Convolution name -> scores_F, float64.

    Raises:
        CriterionError: scores that do not go with this network; names the first convolution concerned.
        WeightsError: no sound file.
    """
    layers = {layer.name: len(layer.out_ids) for layer in scored_layers(channel_map)}
    if Path(path).is_dir():
        scores = load_rank_folder(path, list(layers))
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


def load_rank_folder(path: str | Path, layer_names: Sequence[str]) -> dict[str, Tensor]:
    """Read a folder of `rank_conv1.npy`, `rank_conv2.npy`, ..., one file per convolution in forward order.

    The files may stop early, as HRank's for VGG-16 do: the convolutions after the last file have no scores,
    and cannot be pruned by them.

    Args:
        path: of the folder.
        layer_names: convolutions in forward order.

    Returns:
        Convolution name -> scores_F, float64.

    Raises:
        CriterionError: no such files, a gap in their numbers, more files than convolutions, or files per
            branch.
    """
    files = sorted(Path(path).glob("rank_conv*.npy"))
    numbered: dict[int, Path] = {}
    for file in files:
        match = re.fullmatch(r"rank_conv(\d+)", file.stem)
        if match is None:
            raise CriterionError(
                f"'{file}' does not name one convolution by its number; folders with files per branch "
                "(GoogLeNet) are not read: convert them to a score file"
            )
        numbered[int(match[1])] = file
    if sorted(numbered) != list(range(1, len(files) + 1)) or not files:
        found = ", ".join(f"{number}" for number in sorted(numbered)) or "none"
        raise CriterionError(
            f"'{path}' must hold rank_conv1.npy, rank_conv2.npy and so on without gaps; found: {found}"
        )
    if len(files) > len(layer_names):
        raise CriterionError(
            f"'{path}' holds {len(files)} files, and the network has {len(layer_names)} convolutions"
        )
    return {
        name: _read_ranks(numbered[number])
        for number, name in enumerate(layer_names, 1)
        if number in numbered
    }


def _read_ranks(path: Path) -> Tensor:
    try:
        ranks = np.load(require_file(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CriterionError(f"'{path}' is not a plain NumPy array: {error}") from error
    if not isinstance(ranks, np.ndarray) or ranks.ndim != 1 or ranks.dtype.kind not in "iuf":
        raise CriterionError(f"'{path}' is not one row of numbers")
    return torch.from_numpy(ranks.astype(np.float64))


def _check_names(scores: Mapping[str, Tensor], channel_map: ChannelMap, path: str) -> None:
    """Every name is a convolution of the network, and every convolution that can be pruned has scores."""
    known = [layer.name for layer in scored_layers(channel_map)]
    for name in scores:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
            raise CriterionError(
                f"'{path}' has scores for '{name}', which is no convolution of this network{hint}"
            )
    needed = [name for group in channel_map.groups if group.free.any() for name in group.producers]
    missing = [name for name in needed if name not in scores]
    if missing:
        others = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise CriterionError(f"'{path}' has no scores for '{missing[0]}'{others}; rank this network again")
