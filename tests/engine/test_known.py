"""Traces that are kept, and when they are not true any more."""

import pytest
from prune.engine.graph.known import known_trace
from torch import Tensor, nn


class Configured(nn.Module):
    """What it computes depends on settings of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.more = nn.Conv2d(8, 8, 3)
        self._times, self.steps, self.names = 1, [1, 2], {"last": "conv"}

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for _ in range(self._times):
            x = self.more(x)
        return x.mean((2, 3)) * len(self.steps) if self.names["last"] == "conv" else x.amax((2, 3))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "_times", 2),
        lambda model: model.steps.append(3),
        lambda model: model.names.update(last="more"),
        lambda model: model.conv.register_forward_hook(lambda *_: None),
        lambda model: setattr(model, "more", nn.Conv2d(8, 8, 3)),
        lambda model: setattr(model.conv, "padding", (1, 1)),
    ],
)
def test_a_network_that_changed_is_traced_again(change):
    model = Configured()
    first = known_trace(model, (3, 8, 8))
    model.train()
    model.conv.weight.data.mul_(2)
    assert known_trace(model, (3, 8, 8)) is first
    change(model)
    assert known_trace(model, (3, 8, 8)) is not first
