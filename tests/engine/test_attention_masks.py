"""Masks of attention: one for all heads lets heads leave, a table's columns follow them, others hold them."""

import prune
import pytest
import torch
from prune.engine.graph.trace import trace
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

SIZE = (3, 8, 8)
HEADS, WIDTH = 4, 6  # per head
TOKENS = 4


class Masked(nn.Module):
    """Attention of four tokens with whatever is added to its scores."""

    def __init__(self, *, grouped: bool = False, **masks: Tensor | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.q, self.v = nn.Linear(24, HEADS * WIDTH), nn.Linear(24, HEADS * WIDTH)
        self.k = nn.Linear(24, (1 if grouped else HEADS) * WIDTH)
        self.out = nn.Linear(HEADS * WIDTH, 5)
        table = masks.get("table")
        self.table = None if table is None else nn.Parameter(table)
        self.register_buffer("mask", masks.get("mask"))
        self.register_buffer("places", torch.arange(TOKENS * TOKENS) % 7)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        x_BNC = self.patches(images_NCHW).flatten(2).transpose(1, 2)
        q, k, v = (
            part(x_BNC).unflatten(-1, (-1, WIDTH)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mask = self.mask
        if self.table is not None:
            mask = self.table[self.places].view(TOKENS, TOKENS, -1).permute(2, 0, 1).unsqueeze(0)
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2).mean(1))


def reasons(model: nn.Module) -> str:
    found = trace(model.eval(), SIZE).map
    return "; ".join(str(found.pinned.get(int(i), "")) for i in found.layer("q").out_ids[:1])


@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"mask": torch.randn(TOKENS, TOKENS)},
        {"mask": torch.randn(1, 1, TOKENS, TOKENS)},
        {"table": torch.randn(7, HEADS)},
    ],
)
def test_heads_leave(masks: dict[str, Tensor]):
    net = prune.wrap(Masked(**masks).eval(), SIZE)
    narrow = prune.prune(net, prune.plan(net, rate=0.5))
    assert narrow.network.model.q.out_features == HEADS * WIDTH // 2
    assert narrow.difference < 1e-12
    if "table" in masks:
        assert narrow.network.model.table.shape == (7, HEADS // 2)


def test_a_mask_of_its_own_for_every_head_holds_them_and_says_so():
    held = Masked(mask=torch.randn(1, HEADS, TOKENS, TOKENS))
    assert "meets a mask without channel identity at scaled_dot_product_attention" in reasons(held)


def test_keys_that_heads_share_hold_them_and_say_so():
    assert "heads that share their keys" in reasons(Masked(grouped=True))
