"""What modules write down about their widths beside their tensors, brought in line with narrower ones."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm


def set_widths(module: nn.Module, full: dict[str, torch.Size]) -> None:
    """Bring a module's own record of its widths in line with its tensors.

    Args:
        module: its parameters have the shapes that they shall have.
        full: the shapes that they had.
    """
    if isinstance(module, nn.RNNBase):
        module.input_size = module.get_parameter("weight_ih_l0").shape[1]
    elif isinstance(module, nn.RNNCellBase):
        module.input_size = module.weight_ih.shape[1]
    elif isinstance(module, nn.GroupNorm | _InstanceNorm) and not module.affine:
        _follow_input(module)
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and not module.elementwise_affine:
        if len(module.normalized_shape) == 1:
            _follow_input(module)
    elif "weight" in full:
        _set_by_weight(module, full["weight"])


def _set_by_weight(module: nn.Module, full: torch.Size) -> None:
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, nn.modules.conv._ConvNd):
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        if 1 < module.groups == module.in_channels:  # depthwise: as many groups as channels, always
            multiplier = full[1] if transposed else full[0] // module.groups
            module.groups = weight.shape[0] if transposed else weight.shape[0] // multiplier
        ins, outs = (weight.shape[0], weight.shape[1]) if transposed else (weight.shape[1], weight.shape[0])
        module.in_channels = ins if transposed else ins * module.groups
        module.out_channels = outs * module.groups if transposed else outs
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):  # groups leave whole; of one group of all channels, some may
        module.num_groups = max(1, weight.shape[0] // (full[0] // module.num_groups))
        module.num_channels = weight.shape[0]
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = weight.shape[1]


def _follow_input(module: nn.GroupNorm | nn.LayerNorm | nn.RMSNorm | _InstanceNorm) -> None:
    """A norm without tensors learns its width from what comes in; groups keep their size."""
    if not any(getattr(hook, "func", None) is _take_width for hook in module._forward_pre_hooks.values()):
        size = module.num_channels // module.num_groups if isinstance(module, nn.GroupNorm) else 1
        module.register_forward_pre_hook(partial(_take_width, size))


def _take_width(size: int, module: Any, inputs: tuple[Tensor, ...]) -> None:
    if isinstance(module, nn.GroupNorm):
        module.num_channels = inputs[0].shape[1]
        module.num_groups = max(1, module.num_channels // size)
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(inputs[0].shape[-1:])
    else:
        module.num_features = inputs[0].shape[inputs[0].dim() - module._get_no_batch_dim()]
