"""Where channels go in the parameter-free shortcuts of foreign ResNets: their code knows, ours is told."""

from collections.abc import Callable, Mapping

import numpy as np

# Where the stream gets wider, some put its channels in the middle of the zeros, others before them.
_BEFORE: dict[str, Callable[[int, int], int]] = {
    "akamaster": lambda into, out: (out - into) // 2,
    "hrank-resnet": lambda into, out: (out - into) // 2,
    "fpgm-resnet": lambda into, out: 0,
}


def shortcut_indices(tensors: Mapping[str, np.ndarray], style: str | None) -> dict[str, np.ndarray]:
    """The index tensors that a CIFAR ResNet of this style has under our names, but not in its file.

    HRankPlus' streams may be narrow. Into a stream that is narrower than the one before, channels are left
    out on both sides. Files with projections have none of these.

    Args:
        tensors: under our names.
        style: that they had before.

    Returns:
        Tensor name -> int64, per channel of the stream the position of the channel that goes there, or -1.
    """
    if style not in _BEFORE or "stage2.projection.conv.weight" in tensors:
        return {}
    into, indices = _width(tensors, "stage1.conv1"), {}
    for stage in (1, 2, 3):
        out = _width(tensors, f"stage{stage}.block0.conv2")
        if into != out or stage > 1:  # into the first stage all channels pass as they are, as a rule
            indices[f"stage{stage}.block0.shortcut.index"] = _index(into, out, _BEFORE[style](into, out))
        into = out
    return indices


def _width(tensors: Mapping[str, np.ndarray], unit: str) -> int:
    return len(tensors[f"{unit}.conv.weight"])


def _index(into: int, out: int, before: int) -> np.ndarray:
    positions = np.arange(out) - before
    return np.where((positions >= 0) & (positions < into), positions, -1)
