"""Batch normalisation and compactors multiplied into the convolutions before them; widths stay."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ...archs.units import Compactor
from ..errors import EngineError
from ..graph.normalisation import batch_norms
from ..graph.trace import Trace
from ..modules.guests import COMPACTORS, nothing_instead
from .sites import unit_of

_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def foldable_norms(model: nn.Module, traced: Trace) -> dict[str, str]:
    """Layer -> BN that can be multiplied into its weights."""
    return {
        layer: norm
        for layer, norm in batch_norms(model, traced).items()
        if isinstance(model.get_submodule(layer), _FOLDABLE) and not layer.endswith(".compactor.pwc")
    }


def compactors_by_layer(
    model: nn.Module, traced: Trace, batch_norm_of: Mapping[str, str]
) -> dict[str, Compactor]:
    """Convolution -> the compactor that acts on its normalised filters.

    Raises:
        EngineError: a compactor does not stand behind a plain convolution of its own.
    """
    present = COMPACTORS.placed(model)
    layers = {unit_of(model, layer, batch_norm_of): layer for layer in traced.map.layer_names}
    for unit in present:
        layer = layers.get(unit)
        known = None if layer is None else traced.map.layer(layer)
        if known is None or known.kind != "conv" or known.groups > 1:
            raise EngineError(
                f"the compactor of {unit} does not stand behind a plain convolution of its own; "
                "train with `method` resrep, which places compactors where they can"
            )
    return {layers[unit]: compactor for unit, compactor in present.items()}


def fuse(
    model: nn.Module, batch_norm_of: Mapping[str, str], compactor_of: Mapping[str, Compactor]
) -> nn.Module:
    """Multiply BNs and compactors into their layers, in place, and take them away; returns the model.

    Ding et al., ICCV 2021, arXiv 2007.03260, Eqs. 3 to 6: K' = gamma / sqrt(var + eps) K and then C K'.
    """
    COMPACTORS.take_away(model)
    for layer, norm in batch_norm_of.items():
        _fold_norm(model.get_submodule(layer), model.get_submodule(norm))
        nothing_instead(model, norm)
    for layer, compactor in compactor_of.items():
        _fold_compactor(model.get_submodule(layer), compactor)
    return model


def _fold_norm(layer: Any, norm: Any) -> None:
    layer.weight, bias_F = fuse_conv_bn_weights(
        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    layer.bias = bias_F.requires_grad_(layer.weight.requires_grad)


@torch.no_grad()
def _fold_compactor(conv: Any, compactor: Compactor) -> None:
    rows_DF = compactor.pwc.weight.flatten(1)
    conv.weight = _like(conv.weight, torch.tensordot(rows_DF, conv.weight, dims=1))
    if conv.bias is not None:
        conv.bias = _like(conv.bias, rows_DF @ conv.bias)
    conv.out_channels = len(rows_DF)


def _like(parameter: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=parameter.requires_grad)
