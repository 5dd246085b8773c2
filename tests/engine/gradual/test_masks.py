"""What holds masked channels at zero: rows of parameters, along whatever axis makes them."""

from collections.abc import Callable

import numpy as np
import torch
from prune.engine.graph.trace import trace
from prune.engine.jobs.job import Job
from prune.engine.masking.rows import (
    masked_filters,
    masked_producers,
    silence,
    zero_gradients,
    zero_momentum,
    zero_weights,
)
from prune.engine.narrowing.surgery import mask
from prune.engine.network.files import load_network
from prune.engine.training.optimizer import build_sgd, set_rate
from torch import nn


class Odd(nn.Module):
    """A depthwise convolution, a transposed one, and one channel alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.one = nn.Conv2d(5, 1, 1)
        self.unused = nn.Parameter(torch.ones(3))
        self.linear = nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.one(self.up(self.depthwise(self.a(x)).relu()).relu()).mean((2, 3)))


def ids_of(channel_map, layer: str, *filters: int) -> list[int]:
    return channel_map.layer(layer).out_ids[list(filters)].tolist()


def test_filters_are_those_of_convolutions_that_make_channels():
    net = Odd()
    channel_map = trace(net, (3, 6, 6)).map
    masked = ids_of(channel_map, "a", 1) + ids_of(channel_map, "up", 0, 4)
    rows = {(id(m.parameter), m.dim): m.rows.tolist() for m in masked_filters(net, channel_map, masked)}
    assert rows == {(id(net.a.weight), 0): [1], (id(net.up.weight), 1): [0, 4]}
    zero_weights(masked_filters(net, channel_map, masked))
    assert torch.equal(net.up.weight[:, [0, 4]], torch.zeros(4, 2, 2, 2))
    assert net.depthwise.weight.abs().min() > 0  # or else nothing would reach the filter before it
    assert net.up.bias.abs().min() > 0


def test_producers_are_all_that_a_mask_zeroes():
    net = Odd()
    channel_map = trace(net, (3, 6, 6)).map
    masked = ids_of(channel_map, "a", 1) + ids_of(channel_map, "up", 0, 4)
    expected = mask(net.state_dict(), channel_map, masked)
    zero_weights(masked_producers(net, channel_map, masked))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert net.depthwise.weight[1].abs().max() == 0


def test_held_rows_survive_steps_with_momentum_and_decay():
    net = Odd()
    channel_map = trace(net, (3, 6, 6)).map
    optimizer = build_sgd(net, rule="all", momentum=0.9, weight_decay=0.1, nesterov=True)
    set_rate(optimizer, 0.1)

    def step(held) -> None:
        optimizer.zero_grad()
        net(torch.randn(4, 3, 6, 6)).square().mean().backward()
        zero_gradients(held)
        optimizer.step()

    step([])
    masked = ids_of(channel_map, "a", 1) + ids_of(channel_map, "up", 0, 4)
    held = masked_producers(net, channel_map, masked)
    zero_weights(held)
    zero_momentum(held, optimizer)
    kept = net.a.weight[0].clone()
    for _ in range(3):
        step(held)
    state = net.state_dict()
    for name, tensor in mask(state, channel_map, masked).items():
        assert torch.equal(tensor, state[name]), name
    assert not torch.equal(net.a.weight[0], kept)


def test_silence_also_closes_shortcuts_into_masked_channels(make_job: Callable[..., Job]):
    network = load_network(make_job("soft").start, "gradual_user:Net")
    model = network.model
    channel_map = trace(model, network.input_size).map
    stream = next(group for group in channel_map.groups if group.name == "block1.conv2.conv")
    shortcut = next(index for index in channel_map.indices if index.name == "block1.shortcut.index")
    masked = [int(shortcut.own_ids[position]) for position in (3, 4)]  # of 8 channels amid 12
    assert set(masked) <= set(stream.channels.tolist())
    assert "block1.shortcut.index" not in model.state_dict()
    silence(model, channel_map, masked)
    assert model.state_dict()["block1.shortcut.index"].tolist() == [-1, -1, 0, -1, -1, 3, 4, 5, 6, 7, -1, -1]
    out = {}
    handle = model.block1.register_forward_hook(lambda _, __, made: out.update(block1=made))
    model.eval()(torch.randn(2, 3, 16, 16))
    handle.remove()
    silent = np.flatnonzero(out["block1"].detach().abs().amax((0, 2, 3)).numpy() == 0)
    assert {3, 4} <= set(silent.tolist())
