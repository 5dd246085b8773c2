"""The building blocks of every built-in network: convolution and BN, residual addition, padding shortcut."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBN(nn.Module):
    """A convolution, its batch normalisation and, optionally, one more linear map after them.

    There is no activation inside: in a residual block the last one comes after the addition. `bn` may be an
    `nn.Identity` once its affine map has been folded into `conv`, which then has a bias.

    Attributes:
        conv: the convolution.
        bn: what normalises it.
        compactor: a module applied last, or None.
    """

    compactor: nn.Module | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        """Without `padding`, an odd kernel at stride 1 keeps the size of the image."""
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels)
        self.compactor = None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Convolve, normalise, and apply the compactor if there is one."""
        out = self.bn(self.conv(x_NCHW))
        return out if self.compactor is None else self.compactor(out)


class Compactor(nn.Module):
    """ResRep's 1x1 convolution behind a normalised one; its small rows become the filters that leave.

    Ding et al., ICCV 2021, arXiv 2007.03260, section 3.2.

    Attributes:
        pwc: the square pointwise convolution; at first the identity.
        mask: (D,), 1 for a row that learns and 0 for one that is on its way out. It takes no part in the
            forward pass: training reads it.
    """

    mask: Tensor

    def __init__(self, width: int) -> None:
        """Start as the identity on `width` channels."""
        super().__init__()
        self.pwc = nn.Conv2d(width, width, 1, bias=False)
        with torch.no_grad():
            self.pwc.weight.copy_(torch.eye(width)[:, :, None, None])
        self.register_buffer("mask", torch.ones(width))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Mix the channels."""
        return self.pwc(x_NCHW)


class Merge(nn.Module):
    """The one residual addition: a branch goes into a stream, into all its channels or into chosen ones.

    Attributes:
        index: None (the branch is as wide as the stream) or int64, one stream channel per branch channel.
            The state dict has it when it is set; loading one that has it sets it, one that has not unsets it.
        expand: None, or what brings a stream that arrives narrow to its full width first.
    """

    index: Tensor | None
    expand: "Expand | None"

    def __init__(self) -> None:
        """Start as the plain addition."""
        super().__init__()
        self.register_buffer("index", None)
        self.register_module("expand", None)

    def forward(self, stream_NCHW: Tensor, branch_NBHW: Tensor) -> Tensor:
        """Return a new tensor as wide as the stream, which stays as it is."""
        if self.expand is not None:
            stream_NCHW = self.expand(stream_NCHW)
        if self.index is None:
            return stream_NCHW + branch_NBHW
        return _add_at(stream_NCHW, branch_NBHW, self.index)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(prefix + "index")
        self.index = None if stored is None else _room_for(stored, self.index)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Expand(nn.Module):
    """Brings a narrow tensor to its full width: each channel to its place, zeros elsewhere.

    Attributes:
        index: int64, per output channel the position of its input channel, or -1 for a channel of zeros.
        dim: along which axis channels are counted: 1, or -1 behind a linear layer.
    """

    index: Tensor

    def __init__(self, width: int) -> None:
        """Start as the identity on `width` channels."""
        super().__init__()
        self.register_buffer("index", torch.arange(width))
        self.dim = 1

    def forward(self, x: Tensor) -> Tensor:
        """Return one channel per entry of `index`, in the memory format of `x`."""
        if self.dim == -1:
            return F.pad(x, (0, 1))[..., self.index]
        out = _channels_at(x, self.index)
        return out.contiguous(memory_format=torch.channels_last) if _is_channels_last(x) else out


class PadShortcut(nn.Module):
    """The parameter-free shortcut (option A): every stride-th pixel, and zeros where the stream gets wider.

    He et al., CVPR 2016, arXiv 1512.03385, section 3.3.

    Attributes:
        stride: the distance between the pixels taken, in both directions.
        index: int64, per output channel the position of its input channel, or -1 for a channel of zeros;
            input channels that it leaves out are cropped. None: all channels pass as they are. At first it
            is None where the stream keeps its width, and elsewhere the input channels sit in the middle of
            the zeros. A state dict without an index means that first one; any other, of any length, is part
            of the state dict.
    """

    index: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Centre `in_channels` in `out_channels`, the odd zero channel after them."""
        super().__init__()
        self.stride = stride
        before = (out_channels - in_channels) // 2
        after = out_channels - in_channels - before
        centred = [-1] * before + list(range(in_channels)) + [-1] * after
        self._first_index = centred if in_channels != out_channels else None
        self.register_buffer("index", self._first())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return one channel per entry of `index`, or all."""
        taken = x_NCHW[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x_NCHW
        if self.index is None:
            return taken
        out = _channels_at(taken, self.index)
        # Indexing drops channels_last, and all later layers would follow: 8 % of a ResNet-56 training step.
        return out.contiguous(memory_format=torch.channels_last) if _is_channels_last(x_NCHW) else out

    @property
    def keeps_width(self) -> bool:
        """Is it built for one width, so that without an index everything passes?"""
        return self._first_index is None

    def _first(self) -> Tensor | None:
        return None if self._first_index is None else torch.tensor(self._first_index)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.index is not None and (self.index.is_meta or self.index.tolist() == self._first_index):
            del destination[prefix + "index"]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        name = prefix + "index"
        stored = state_dict.get(name, self._first())
        self.index = None if stored is None else _room_for(stored, self.index)
        given = state_dict if stored is None else {**state_dict, name: stored}
        super()._load_from_state_dict(given, prefix, *args, **kwargs)


def _channels_at(x_NCHW: Tensor, index_D: Tensor) -> Tensor:
    """One channel per entry of `index_D`; -1 picks the zero channel appended last."""
    return F.pad(x_NCHW, (0, 0) * (x_NCHW.dim() - 2) + (0, 1))[:, index_D]


def _add_at(stream_NCHW: Tensor, branch_NBHW: Tensor, index_B: Tensor) -> Tensor:
    if branch_NBHW.dtype != stream_NCHW.dtype:  # autocast promotes in `+`, but not in index_add
        dtype = torch.promote_types(stream_NCHW.dtype, branch_NBHW.dtype)
        stream_NCHW, branch_NBHW = stream_NCHW.to(dtype), branch_NBHW.to(dtype)
    if not _is_channels_last(stream_NCHW):
        return stream_NCHW.index_add(1, index_B, branch_NBHW)
    # Channel by channel, index_add would stride through all of memory and return another memory format.
    stream_NHWC, branch_NHWB = stream_NCHW.permute(0, 2, 3, 1), branch_NBHW.permute(0, 2, 3, 1)
    rows = stream_NHWC.flatten(0, 2).index_add(1, index_B, branch_NHWB.flatten(0, 2))
    return rows.view(stream_NHWC.shape).permute(0, 3, 1, 2)


def _is_channels_last(x_NCHW: Tensor) -> bool:
    return x_NCHW.is_contiguous(memory_format=torch.channels_last) and not x_NCHW.is_contiguous()


def _room_for(stored: Tensor, current: Tensor | None) -> Tensor:
    """An empty buffer of the stored one's shape, where the current one is (one on `meta` is nowhere yet)."""
    device = stored.device if current is None or current.is_meta else current.device
    return torch.empty_like(stored, device=device)
