"""From Python: scores that are losses, the widths of least loss, and a narrow network that makes up."""

import copy

import prune
import pytest
import torch
from prune.engine.errors import CriterionError
from torch import nn

SIZE = (3, 16, 16)


class Net(nn.Sequential):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)),
        )


def test_half_a_network_in_four_lines():
    torch.manual_seed(0)
    net = prune.wrap(Net(), SIZE)
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(256, *SIZE, generator=draw)
    scores = prune.rank(net, "obs-measured", images=images)
    thin = prune.prune(net, prune.plan(net, scores, flops=0.5, ranking="loss"))
    before, full = copy.deepcopy(thin.model), copy.deepcopy(net.model.state_dict())
    fresh = torch.randn(64, *SIZE, generator=draw)

    done = prune.compensate(net, thin, images, fit_blocks=2)
    assert done.model is thin.model
    assert done.facts["compensation"]["images"] == 256
    assert done.after.macs <= 0.5 * done.before.macs
    with torch.no_grad():
        wanted = net.model.eval()(fresh)
        sliced, mended = ((model(fresh) - wanted).square().mean() for model in (before, done.model))
    assert mended < 0.5 * sliced
    assert all(torch.equal(tensor, full[name]) for name, tensor in net.model.state_dict().items())


def test_the_full_network_must_still_be_there():
    net = prune.wrap(Net(), SIZE)
    thin = prune.prune(net, prune.plan(net, rate=0.5), in_place=True)
    with pytest.raises(CriterionError, match="narrowed in place; compensate before that"):
        prune.compensate(net, thin, torch.randn(64, *SIZE))
    with pytest.raises(CriterionError, match="there are none"):
        prune.compensate(prune.wrap(Net(), SIZE), thin, [])
