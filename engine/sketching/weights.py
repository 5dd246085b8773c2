"""What weights a sketched network gets: sketches in place of two layers per target, all else as it was."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..algebra.frequent_directions import Procedure, frequent_directions, sketch_channels
from ..sketching.targets import Target

WeightNorm = Literal["none", "l2"]


def sketch_weights(
    state: Mapping[str, Tensor],
    widths: Mapping[Target, int],
    *,
    procedure: Procedure = "paper",
    weight_norm: WeightNorm = "none",
) -> dict[str, Tensor]:
    """The weights and biases of sketched layers: filters first, then input channels of the layers behind.

    Departs from the authors' code: where a batch norm follows, and a bias is without effect, a sketched
    convolution's is zero and not random; where none follows, it is one more number of its filter's row. The
    bias of a layer that is sketched along its inputs alone is not touched, theirs is random.

    Args:
        state: of the full network.
        widths: rows that stand for the filters of each target.
        procedure: see `frequent_directions`.
        weight_norm: `l2` divides each sketched weight by its Frobenius norm.

    Returns:
        Tensors by name, of the dtypes that they have in `state`.
    """
    sketched: dict[str, Tensor] = {}
    for target, kept in widths.items():
        sketched |= _sketch_filters(state, target, kept, procedure, weight_norm)
    for target, kept in widths.items():
        name = target.reader.weight
        weight_FCHW = sketched.get(name, state[name])
        weight_FLHW = sketch_channels(weight_FCHW, kept, target.filters, procedure)
        sketched[name] = weight_FLHW / _divisor(weight_FLHW, weight_norm)
    return sketched


@torch.no_grad()
def fill(narrow: nn.Module, weights: Mapping[str, Tensor], sketched: Sequence[Target]) -> None:
    """Write sketches into a network that is as narrow as they are, in place.

    A sketched filter is none of the old ones, so the batch norm behind it starts anew: weight 1, bias 0,
    mean 0, variance 1, as the authors' does. What it normalises is yet to be estimated on images.

    Args:
        narrow: holds everything else already.
        weights: from `sketch_weights`.
        sketched: the targets.
    """
    state = narrow.state_dict()
    for name, weight in weights.items():
        state[name].copy_(weight)
    for target in sketched:
        for name in target.norms:
            norm = narrow.get_submodule(name)
            assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
            norm.reset_parameters()


def _sketch_filters(
    state: Mapping[str, Tensor], target: Target, kept: int, procedure: Procedure, weight_norm: WeightNorm
) -> dict[str, Tensor]:
    """One target's filters and, where it has any, biases."""
    weight_name, bias_name = target.maker.weight, target.maker.bias
    weight_FCHW = state[weight_name]
    rows_FD = weight_FCHW.flatten(1)
    if bias_name and not target.norms:
        rows_FD = torch.cat([rows_FD, state[bias_name][:, None]], dim=1)
    rows_LD = frequent_directions(rows_FD, kept, procedure).to(weight_FCHW.dtype)
    weight_LCHW = rows_LD[:, : weight_FCHW[0].numel()].reshape(kept, *weight_FCHW.shape[1:])
    divisor = _divisor(weight_LCHW, weight_norm)
    sketched = {weight_name: weight_LCHW / divisor}
    if bias_name:
        sketched[bias_name] = rows_LD.new_zeros(kept) if target.norms else rows_LD[:, -1] / divisor
    return sketched


def _divisor(weight: Tensor, weight_norm: WeightNorm) -> Tensor | float:
    """What a sketched weight is divided by; a weight of zeros has no length to take away."""
    norm = torch.linalg.vector_norm(weight)
    return norm if weight_norm == "l2" and norm > 0 else 1.0
