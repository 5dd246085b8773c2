"""Attention that has as many heads as its weights say.

The attention of torch and torchvision takes the width of a head from the width of what it reads, which
stays when heads leave. The classes here compute the same from the shapes of the same parameters, and scale by
the width that heads had when they were made. A module
becomes one of them, with all it holds, when heads have left; a network is traced as if it consisted of
them, so that both proofs see the same operations in the full and the narrow network.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .through import loses_head_dims

FUSED = "fused_attn"  # timm: is the fused operation used, which scales by the width that it sees?


class FewerHeads(nn.MultiheadAttention):
    """Self-attention on one batch; of every other call, that of torch."""

    FOLLOWS = True

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See `torch.nn.MultiheadAttention`."""
        alike = attn_mask is None or attn_mask.dim() == 2  # for all heads
        if not (query is key is value and query.dim() == 3 and alike):
            given = (query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights)
            self._qkv_same_embed_dim = True  # see `_become`
            try:
                return super().forward(*given, is_causal)
            finally:
                self._qkv_same_embed_dim = False
        qkv = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.unflatten(-1, (3, -1, self.head_dim))
        order = (2, 0, 3, 1, 4) if self.batch_first else (2, 1, 3, 0, 4)
        q_BHND, k_BHND, v_BHND = qkv.permute(order).unbind(0)
        mask = _added(_as_added(attn_mask, query, 2), _as_added(key_padding_mask, query, 1))
        dropout = self.dropout if self.training else 0.0
        scale = (self.embed_dim // self.num_heads) ** -0.5  # as it was made; `head_dim` is what has stayed
        weights = None
        if need_weights:
            scores = q_BHND * scale @ k_BHND.transpose(-2, -1)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            out = F.dropout(weights, dropout) @ v_BHND
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            out = F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND, mask, dropout, scale=scale)
        out = out.permute((0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)).flatten(-2)
        return self.out_proj(out), weights


def follow(model: nn.Module) -> None:
    """Let every module of a network whose weights have been given to it have as many heads as they say."""
    for module in model.modules():
        following = _following(module)
        if following is not None and not _as_made(module):
            _become(module, following)


def follows_its_weights(module: nn.Module) -> bool:
    """Does a module have as many heads as its weights say, whatever its numbers are?"""
    return _following(module) is not None or getattr(type(module), "FOLLOWS", False)


@contextmanager
def in_plain_sight(model: nn.Module) -> Iterator[None]:
    """Let all attention of a network be that which follows its weights, for as long as the context lasts."""
    kinds = [(module, type(module), _following(module)) for module in model.modules()]
    fused = [module for module in model.modules() if loses_head_dims(model) and keeps_a_scale(module)]
    plain = [
        (module, module._qkv_same_embed_dim)
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)
    ]
    try:
        for module, _, following in kinds:
            if following is not None:
                _become(module, following)
        for module in fused:
            setattr(module, FUSED, False)
        yield
    finally:
        for module, kind, following in kinds:
            if following is not None:
                module.__class__ = kind
        for module, flag in plain:
            module._qkv_same_embed_dim = flag
        for module in fused:
            setattr(module, FUSED, True)


def keeps_a_scale(module: nn.Module) -> bool:
    """Is it timm's attention, which scales by the width of its heads as it is, or by that which it keeps?"""
    return getattr(module, FUSED, None) is True and isinstance(getattr(module, "scale", None), float)


def _following(module: nn.Module) -> type[nn.Module] | None:
    """The class that computes what a module does by its weights alone; None of one that is of it already."""
    if type(module) is nn.MultiheadAttention:
        return FewerHeads if _is_plain(module) else None
    if type(module).__module__.startswith("torchvision.models."):
        from .window_attention import FOLLOWING  # here: who has no such module need not load them

        return FOLLOWING.get(type(module))
    return None


def _become(module: nn.Module, kind: type[nn.Module]) -> None:
    module.__class__ = kind
    if isinstance(module, nn.MultiheadAttention):
        # Encoder layers have a path of their own past the attention module, and so do not take it.
        module._qkv_same_embed_dim = False  # pyright: ignore[reportAttributeAccessIssue]


def _is_plain(module: nn.MultiheadAttention) -> bool:
    """Does one weight make queries, keys and values, and nothing else make any?"""
    return module.in_proj_weight is not None and module.bias_k is None and not module.add_zero_attn


def _as_made(module: nn.Module) -> bool:
    """Have neither heads left nor channels of what it reads?"""
    reads_all = not isinstance(module, nn.MultiheadAttention) or (
        module.in_proj_weight.shape[1] == module.embed_dim
    )
    return reads_all and _rows(module) == _rows_as_made(module)


def _rows(module: nn.Module) -> int:
    """How many rows make queries, keys and values."""
    if isinstance(module, nn.MultiheadAttention):
        return len(module.in_proj_weight)
    layer = next(child for child in module.children() if isinstance(child, nn.Linear))
    return len(layer.weight)


def _rows_as_made(module: nn.Module) -> int:
    """How many there are where no head has left."""
    if isinstance(module, nn.MultiheadAttention):
        return 3 * module.embed_dim
    layer = next(child for child in module.children() if isinstance(child, nn.Linear))
    return 3 * layer.weight.shape[1]


def _as_added(mask: Tensor | None, like: Tensor, axes: int) -> Tensor | None:
    """A mask as what is added to the scores; the (B, N) of a padding mask for all heads and queries."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)
    return mask[:, None, None] if axes == 1 else mask


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
