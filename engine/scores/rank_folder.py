"""Ranks as HRank's authors publish them: a folder of `rank_conv1.npy`, `rank_conv2.npy` and so on."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...weights.errors import WeightsError, first_line
from ...weights.files import require_file
from ..errors import CriterionError
from ..graph.channels import ChannelMap, Layer
from ..graph.filters import scored_convolutions

# An inception module has one number, and a file per branch. Both 3x3 convolutions of the 5x5 branch go by the
# ranks of the second; the 1x1 reductions have none.
_BRANCHES = {
    "branch1x1.conv1": "_n1x1",
    "branch3x3.conv2": "_n3x3",
    "branch5x5.conv2": "_n5x5",
    "branch5x5.conv3": "_n5x5",
    "branch_pool.conv1": "_pool_planes",
}
_IN_BRANCH = re.compile(r"(.+)\.(branch\w+\.conv\d+)\.conv")


def load_rank_folder(path: str | Path, channel_map: ChannelMap) -> dict[str, Tensor]:
    """Read the ranks of a network's convolutions, numbered in forward order.

    Lin et al., CVPR 2020, arXiv 2002.10179; laid out as in github.com/lmbxmu/HRank. A shortcut's convolution
    is numbered just before the one it is added to. Both have the ranks of their sum: where one's file is
    missing, the other's serves. The files may stop early, as those for VGG-16 do: what comes after the last
    one has no scores.

    Args:
        path: of the folder.
        channel_map: of the network.

    Returns:
        Convolution name -> scores_F, float64.

    Raises:
        CriterionError: no such files, a gap in their numbers, or a file that belongs to no convolution.
    """
    layers = _in_published_order(scored_convolutions(channel_map))
    file_of = _numbered([layer.name for layer in layers])
    found = {file.stem: file for file in sorted(Path(path).glob("rank_conv*.npy"))}
    known = list(dict.fromkeys(file_of.values()))
    unknown = sorted(found.keys() - set(known))
    if not found or unknown:
        has = f"'{unknown[0]}.npy'" if unknown else "no rank_conv1.npy"
        raise CriterionError(
            f"'{path}' has {has}; HRank's files for this network are {known[0]}.npy to {known[-1]}.npy"
        )
    for first, second in _added(layers):
        for name, other in ((first, second), (second, first)):
            if file_of[name] not in found and file_of[other] in found:
                found[file_of[name]] = found[file_of[other]]
    last = max(known.index(stem) for stem in found)
    missing = [stem for stem in known[:last] if stem not in found]
    if missing:
        raise CriterionError(f"'{path}' has no '{missing[0]}.npy', though it has '{known[last]}.npy'")
    return {name: _read(found[stem]) for name, stem in file_of.items() if stem in found}


def _in_published_order(layers: Sequence[Layer]) -> list[Layer]:
    """Forward order, but for shortcuts that are computed before the branch they are added to."""
    order = list(layers)
    for shortcut, branch_end in _shortcuts(layers):
        order.remove(shortcut)
        order.insert(order.index(branch_end), shortcut)
    return order


def _shortcuts(layers: Sequence[Layer]) -> list[tuple[Layer, Layer]]:
    """The convolutions that read what the next one reads, each with the later one it shares channels with."""
    pairs = []
    for place, layer in enumerate(layers[:-1]):
        if np.array_equal(layer.in_ids, layers[place + 1].in_ids):
            ends = [later for later in layers[place + 1 :] if np.array_equal(later.out_ids, layer.out_ids)]
            pairs += [(layer, end) for end in ends[:1]]
    return pairs


def _added(layers: Sequence[Layer]) -> list[tuple[str, str]]:
    """Neighbours in published order that make the same channels: a shortcut and what it is added to."""
    return [
        (first.name, second.name)
        for first, second in pairwise(layers)
        if np.array_equal(first.out_ids, second.out_ids)
    ]


def _numbered(names: Sequence[str]) -> dict[str, str]:
    """Convolution -> the name of its file, for those that have one."""
    numbers: dict[str, int] = {}
    files: dict[str, str] = {}
    for name in names:
        in_branch = _IN_BRANCH.fullmatch(name)
        unit, branch = in_branch.groups() if in_branch else (name, None)
        number = numbers.setdefault(unit, len(numbers) + 1)
        if branch is None or branch in _BRANCHES:
            files[name] = f"rank_conv{number}{_BRANCHES[branch] if branch else ''}"
    return files


def _read(path: Path) -> Tensor:
    try:
        ranks = np.load(require_file(path), allow_pickle=False)
    except WeightsError:
        raise
    except OSError as error:
        raise CriterionError(f"'{path}' cannot be read: {error.strerror or first_line(error)}") from error
    except Exception as error:  # a damaged header can fail anywhere in NumPy
        raise CriterionError(f"'{path}' is not a plain NumPy array: {first_line(error)}") from error
    if not isinstance(ranks, np.ndarray) or ranks.ndim != 1 or ranks.dtype.kind not in "iuf":
        raise CriterionError(f"'{path}' is not one row of numbers")
    return torch.from_numpy(ranks.astype(np.float64))
