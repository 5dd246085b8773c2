"""Programs are shared by networks that are alike, and by no others."""

from functools import partial

import exports
import pytest
import torch
from torch import nn

IMAGES = (torch.zeros(2, 3, 8, 8),)


class Net(nn.Module):
    """A convolution, a number that is used in `forward`, and a buffer that is."""

    def __init__(self, filters: int = 4, repeat: int = 1, index: int = 0) -> None:
        super().__init__()
        self.repeat = repeat
        self.conv = nn.Conv2d(3, filters, 3)
        self.bn = nn.BatchNorm2d(filters)
        self.register_buffer("index", torch.tensor([index]))

    def forward(self, x):
        return self.bn(self.conv(x).repeat(1, self.repeat, 1, 1)[:, : self.bn.num_features])


class Other(Net):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.fixture
def export():
    """A shared `export`, and how often it really exported."""
    asked: list[nn.Module] = []

    def counting(model, images, **options):
        asked.append(model)
        return torch.export.export(model, images, **options)

    return exports.sharing(counting), asked


def test_alike_are_networks_with_other_weights(export):
    shared, asked = export
    first, second = Net().eval(), Net().eval()
    nn.init.uniform_(second.bn.running_mean)
    programs = [shared(network, IMAGES, strict=False) for network in (first, second)]
    assert asked == [first]
    assert programs[0] is programs[1]
    fresh = torch.export.export(second, IMAGES, strict=False)
    assert str(programs[1].graph) == str(fresh.graph)
    assert str(programs[1].graph_signature) == str(fresh.graph_signature)


def _tied() -> Net:
    net = Net(filters=3)
    net.more = net.conv
    return net


def _untied() -> Net:
    net = Net(filters=3)
    net.more = nn.Conv2d(3, 3, 3)
    return net


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Net, partial(Net, filters=5)),
        (Net, partial(Net, repeat=2)),
        (Net, partial(Net, index=1)),
        (Net, Other),
        (Net, lambda: Net().double()),
        (_tied, _untied),
    ],
)
def test_unlike_are_all_others(one, other):
    assert exports.likeness(one().eval()) == exports.likeness(one().eval())
    assert exports.likeness(one().eval()) != exports.likeness(other().eval())


def test_unlike_are_modes():
    assert exports.likeness(Net().eval()) != exports.likeness(Net().train())


def test_unlike_are_images_of_another_size(export):
    shared, asked = export
    for side in (8, 9, 8):
        shared(Net().eval(), (torch.zeros(2, 3, side, side),), strict=False)
    assert len(asked) == 2


def _hooked() -> Net:
    net = Net()

    def hook(*_):
        assert net.repeat

    net.register_forward_hook(hook)
    return net


def _closed() -> Net:
    net, times = Net(), 2
    net.scale = lambda x: times * x
    return net


def _own_forward() -> Net:
    net = Net()
    net.forward = net.conv.forward
    return net


@pytest.mark.parametrize("make", [_hooked, _closed, _own_forward])
def test_what_cannot_be_compared_is_exported_every_time(make, export):
    with pytest.raises(exports.Incomparable):
        exports.likeness(make())
    shared, asked = export
    for _ in range(2):
        shared(make().eval(), IMAGES, strict=False)
    assert len(asked) == 2


def test_programs_are_shared_by_what_networks_take():
    asked = []

    def exported(model, batch):
        asked.append(batch)
        return torch.export.export(model, (torch.zeros(batch, 3, 8, 8),), strict=False)

    shared = exports.sharing_of_inputs(exported)
    programs = [shared(Net().eval(), batch) for batch in (2, 3, 2)]
    assert asked == [2, 3]
    assert str(programs[0].graph) == str(programs[2].graph)
    assert not set(programs[0].graph.nodes) & set(programs[2].graph.nodes)
