"""Every kind of layer is the product of its rows and its matrix, at the positions looked at."""

import pytest
import torch
from prune.engine.compensation.program import Program
from prune.engine.compensation.unfolding import as_matrix, as_weight, outputs, rows
from prune.engine.modules.inputs import Inputs
from torch import nn

LAYERS = {
    "plain": (nn.Conv2d(6, 8, 3, padding=1), (6, 9, 8)),
    "strided, dilated": (nn.Conv2d(6, 8, (3, 2), stride=(2, 1), padding=(2, 1), dilation=2), (6, 11, 9)),
    "same": (nn.Conv2d(6, 8, (4, 3), padding="same"), (6, 7, 8)),
    "grouped": (nn.Conv2d(6, 9, 3, groups=3), (6, 7, 7)),
    "depthwise": (nn.Conv2d(6, 12, 3, padding=1, groups=6), (6, 7, 7)),
    "transposed": (nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1), (6, 5, 4)),
    "transposed, dilated": (nn.ConvTranspose2d(6, 8, (2, 3), stride=(1, 3), dilation=2), (6, 5, 4)),
    "transposed, grouped": (nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1, groups=2), (6, 5, 5)),
    "transposed, depthwise": (nn.ConvTranspose2d(6, 12, 4, stride=2, padding=1, groups=6), (6, 5, 5)),
    "line": (nn.Conv1d(6, 8, 3, stride=2, padding=1), (6, 12)),
    "volume": (nn.Conv3d(4, 6, (1, 3, 2), padding=(0, 1, 1), groups=2), (4, 3, 5, 4)),
    "linear": (nn.Linear(6, 8), (6,)),
    "linear over positions": (nn.Linear(6, 8), (5, 4, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_matrix_is_the_layer(name: str):
    layer, size = LAYERS[name]
    (call,) = Program(layer, Inputs.of_images(size).with_batch(3)).calls
    x = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    kernel = tuple(layer.weight.shape[2:])
    with torch.no_grad():
        for step in (1, 3):
            steps = (step,) * len(kernel)
            made = rows(call, x, kernel, steps) @ as_matrix(call, layer.weight)
            made = made + layer.bias.reshape(call.groups, 1, -1)
            torch.testing.assert_close(made, outputs(call, layer(x), steps))


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_goes_back_into_the_weight(name: str):
    layer, size = LAYERS[name]
    (call,) = Program(layer, Inputs.of_images(size).with_batch(2)).calls
    weight = as_weight(call, as_matrix(call, layer.weight), layer.weight.shape)
    assert torch.equal(weight, layer.weight)
