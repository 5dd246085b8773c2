"""Attention in windows, of torchvision's Swin and MaxViT, that has as many heads as its weights say."""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention, _get_relative_position_bias
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d


class FewerHeadsInWindows(ShiftedWindowAttention):
    """Swin's attention; `num_heads` stays what it was, and says with the input's width what the scale is."""

    FOLLOWS = True

    def forward(self, x: Tensor) -> Tensor:
        """From x_NHWC to the same shape, as torchvision's `shifted_window_attention`."""
        window = tuple(self.window_size)
        padded = [size + -size % side for size, side in zip(x.shape[1:3], window, strict=True)]
        # Where one window holds everything there is nothing to shift.
        shifts = [0 if s >= p else k for s, p, k in zip(window, padded, self.shift_size, strict=True)]
        table, rows = self.relative_position_bias_table, cast(Tensor, self.relative_position_index)
        return _in_windows(
            self, x, window, shifts, _get_relative_position_bias(table, rows, self.window_size)
        )


class FewerHeadsInBoxes(ShiftedWindowAttention3d):
    """The same of videos, where windows are no larger than the video."""

    FOLLOWS = True

    def forward(self, x: Tensor) -> Tensor:
        """From x_NTHWC to the same shape, as torchvision's `shifted_window_attention_3d`."""
        sides = zip(x.shape[1:4], self.window_size, self.shift_size, strict=True)
        window, shifts = zip(*((min(n, side), k if n > side else 0) for n, side, k in sides), strict=True)
        return _in_windows(self, x, window, shifts, self.get_relative_position_bias(list(window)))


class FewerHeadsInGrids(RelativePositionalMultiHeadAttention):
    """MaxViT's attention."""

    FOLLOWS = True

    def forward(self, x: Tensor) -> Tensor:
        """From x_BGPD to the same shape."""
        batch, groups, places, _ = x.shape
        qkv = self.to_qkv(x).reshape(batch, groups, places, 3, -1, self.head_dim)
        q_BGHPD, k_BGHPD, v_BGHPD = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        scores = q_BGHPD @ (k_BGHPD * self.scale_factor).transpose(-2, -1)
        weights = (scores + self.get_relative_positional_bias()).softmax(-1)
        return self.merge((weights @ v_BGHPD).transpose(2, 3).flatten(3))


FOLLOWING: dict[type[nn.Module], type[nn.Module]] = {
    ShiftedWindowAttention: FewerHeadsInWindows,
    ShiftedWindowAttention3d: FewerHeadsInBoxes,
    RelativePositionalMultiHeadAttention: FewerHeadsInGrids,
}


def _in_windows(
    attention: ShiftedWindowAttention | ShiftedWindowAttention3d,
    x: Tensor,
    window: Sequence[int],
    shifts: Sequence[int],
    bias_1HPP: Tensor,
) -> Tensor:
    """Attention of the P places of a window to each other.

    Args:
        attention: whose weights are taken.
        x: (batch, places along two or three axes, channels).
        window, shifts: along each of those axes.
        bias_1HPP: what is added to the scores.
    """
    sizes, axes = x.shape[1:-1], tuple(range(1, x.dim() - 1))
    pads = [-size % side for size, side in zip(sizes, window, strict=True)]
    x = F.pad(x, (0, 0, *(amount for pad in reversed(pads) for amount in (0, pad))))
    padded = x.shape[1:-1]
    if any(shifts):
        x = torch.roll(x, [-shift for shift in shifts], axes)
    mask = _mask_of_shifts(x, padded, window, shifts) if any(shifts) else None
    x = _attend(attention, _windows(x, window), bias_1HPP, mask)
    grid = [size // side for size, side in zip(padded, window, strict=True)]
    x = x.reshape(-1, *grid, *window, x.shape[-1])
    interleaved = [axis + step * len(grid) for axis in axes for step in (0, 1)]
    x = x.permute(0, *interleaved, x.dim() - 1).reshape(-1, *padded, x.shape[-1])
    if any(shifts):
        x = torch.roll(x, list(shifts), axes)
    return x[(slice(None), *(slice(size) for size in sizes))].contiguous()


def _attend(
    attention: ShiftedWindowAttention | ShiftedWindowAttention3d,
    x_WPC: Tensor,
    bias_1HPP: Tensor,
    mask_GPP: Tensor | None,
) -> Tensor:
    windows, places, channels = x_WPC.shape
    heads = attention.relative_position_bias_table.shape[1]
    qkv = attention.qkv(x_WPC).reshape(windows, places, 3, heads, -1).permute(2, 0, 3, 1, 4)
    q_WHPD, k_WHPD, v_WHPD = qkv.unbind(0)
    scores = (q_WHPD * (channels // attention.num_heads) ** -0.5) @ k_WHPD.transpose(-2, -1)
    scores = scores + bias_1HPP
    if mask_GPP is not None:
        scores = scores.unflatten(0, (-1, len(mask_GPP))) + mask_GPP[:, None]
        scores = scores.flatten(0, 1)
    weights = F.dropout(scores.softmax(-1), attention.attention_dropout, attention.training)
    out_WPC = (weights @ v_WHPD).transpose(1, 2).flatten(2)
    return F.dropout(attention.proj(out_WPC), attention.dropout, attention.training)


def _windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """From (batch, axes, channels) to (windows of all samples, places of a window, channels)."""
    pairs = [(size // side, side) for size, side in zip(x.shape[1:-1], window, strict=True)]
    x = x.reshape(len(x), *itertools.chain(*pairs), x.shape[-1])
    last = x.dim() - 1
    return x.permute(0, *range(1, last, 2), *range(2, last, 2), last).reshape(
        -1, math.prod(window), x.shape[-1]
    )


def _mask_of_shifts(
    like: Tensor, padded: Sequence[int], window: Sequence[int], shifts: Sequence[int]
) -> Tensor:
    """mask_GPP: -100 between places of one window that came together by the shift only."""
    regions = like.new_zeros(())
    for size, side, shift in zip(padded, window, shifts, strict=True):
        bands = enumerate((size - side, side - shift, shift))  # along this axis
        regions = 3 * regions[..., None] + torch.cat([like.new_full((n,), band) for band, n in bands])
    regions_GP = _windows(regions[None, ..., None], window)[..., 0]
    apart_GPP = regions_GP[:, None] - regions_GP[:, :, None]
    return torch.zeros_like(apart_GPP).masked_fill(apart_GPP != 0, -100.0)
