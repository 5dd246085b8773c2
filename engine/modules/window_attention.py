"""Attention in windows, of torchvision's Swin and MaxViT, that has as many heads as its weights say."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention, _get_relative_position_bias


class FewerHeadsInWindows(ShiftedWindowAttention):
    """Swin's attention; `num_heads` stays what it was, and says with the input's width how wide a head is."""

    FOLLOWS = True

    def forward(self, x: Tensor) -> Tensor:
        """From x_NHWC to the same shape, as torchvision's `shifted_window_attention`."""
        window = tuple(self.window_size)
        batch, height, width, channels = x.shape
        pads = [-size % side for size, side in zip((height, width), window, strict=True)]
        x = F.pad(x, (0, 0, 0, pads[1], 0, pads[0]))
        padded = (height + pads[0], width + pads[1])
        # Where one window holds everything there is nothing to shift.
        shifts = [0 if s >= p else k for s, p, k in zip(window, padded, self.shift_size, strict=True)]
        if any(shifts):
            x = torch.roll(x, (-shifts[0], -shifts[1]), (1, 2))
        grid = (padded[0] // window[0], padded[1] // window[1])
        x = x.reshape(batch, grid[0], window[0], grid[1], window[1], channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch * grid[0] * grid[1], window[0] * window[1], channels)
        x = self._attend(x, _mask_of_shifts(x, padded, window, shifts) if any(shifts) else None)
        x = x.reshape(batch, *grid, *window, channels).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, *padded, channels)
        if any(shifts):
            x = torch.roll(x, (shifts[0], shifts[1]), (1, 2))
        return x[:, :height, :width].contiguous()

    def _attend(self, x_WNC: Tensor, mask_GNN: Tensor | None) -> Tensor:
        windows, tokens, channels = x_WNC.shape
        wide = channels // self.num_heads
        qkv = self.qkv(x_WNC).reshape(windows, tokens, 3, -1, wide).permute(2, 0, 3, 1, 4)
        q_WHND, k_WHND, v_WHND = qkv.unbind(0)
        scores = (q_WHND * wide**-0.5) @ k_WHND.transpose(-2, -1)
        table, rows = self.relative_position_bias_table, cast(Tensor, self.relative_position_index)
        scores = scores + _get_relative_position_bias(table, rows, self.window_size)
        if mask_GNN is not None:
            scores = scores.unflatten(0, (-1, len(mask_GNN))) + mask_GNN[:, None]
            scores = scores.flatten(0, 1)
        weights = F.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        out_WNC = (weights @ v_WHND).transpose(1, 2).flatten(2)
        return F.dropout(self.proj(out_WNC), self.dropout, self.training)


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
    RelativePositionalMultiHeadAttention: FewerHeadsInGrids,
}


def _mask_of_shifts(
    like: Tensor, padded: tuple[int, int], window: tuple[int, ...], shifts: list[int]
) -> Tensor:
    """mask_GNN: -100 between tokens of one window that came together by the shift only."""
    regions = like.new_zeros(padded)
    number = 0
    for rows in _bands(window[0], shifts[0]):
        for columns in _bands(window[1], shifts[1]):
            regions[rows, columns] = number
            number += 1
    grid = (padded[0] // window[0], padded[1] // window[1])
    regions = regions.reshape(grid[0], window[0], grid[1], window[1]).transpose(1, 2)
    regions_GN = regions.reshape(grid[0] * grid[1], window[0] * window[1])
    apart_GNN = regions_GN[:, None] - regions_GN[:, :, None]
    return torch.zeros_like(apart_GNN).masked_fill(apart_GNN != 0, -100.0)


def _bands(window: int, shift: int) -> tuple[slice, slice, slice]:
    return slice(0, -window), slice(-window, -shift), slice(-shift, None)
