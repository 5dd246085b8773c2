"""Layers whose first axis is not that of images: windows of one image side by side, or tokens first."""

import prune
import pytest
import token_networks
import torch
from mending import images
from prune.engine.compensation.moments import rows_of
from torch import Tensor, nn

SIZE = token_networks.SIZE


class TokensFirst(nn.Module):
    """A transformer's layer as torch's own is by default: tokens, then images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.body = nn.TransformerEncoderLayer(12, 2, 32, dropout=0.0)
        self.head = nn.Linear(12, 5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.head(self.body(self.patches(images_NCHW).flatten(2).permute(2, 0, 1)).mean(0))


@pytest.mark.parametrize(
    ("make", "head_dims"),
    [
        (token_networks.make_tokens, False),
        (TokensFirst, False),
        (token_networks.make_by_flag, True),
        (token_networks.make_swin, True),
        (token_networks.make_encoder, True),
    ],
)
def test_they_are_mended(make, head_dims: bool):
    net = prune.wrap(make().eval(), SIZE, head_dims=head_dims)
    cut = prune.prune(net, prune.plan(net, rate=0.5))
    calibration, held = images(96, SIZE), images(32, SIZE, seed=1)
    with torch.no_grad():
        wanted, sliced = net.model(held), cut.network.model(held)
        mended = prune.compensate(net, cut, calibration).network.model(held)
    assert (mended - wanted).square().mean() < 0.8 * (sliced - wanted).square().mean()


def test_which_rows_are_of_which_image():
    second_N = torch.tensor([True, False, True])
    assert rows_of(second_N, torch.zeros(3, 5)).tolist() == [True, False, True]
    assert rows_of(second_N, torch.zeros(6, 5)).tolist() == [True, True, False, False, True, True]
    assert rows_of(second_N, torch.zeros(4, 5)).tolist() == [False] * 4  # of no image
