"""Layers whose own code computes their weight: made plain where it does so from parameters alone."""

import copy
from pathlib import Path

import prune
import pytest
import torch
import torch.nn.functional as F
import warm
from prune.engine.errors import FitError
from prune.engine.modules.own_weights import SameConv2d
from prune.engine.modules.plain import plain
from prune.weights import store
from prune.weights.errors import BadWeightFile
from torch import nn

SIZE = (3, 17, 17)


def standardised(weight):
    flat = weight.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    return flat.view_as(weight)


class StdConv2d(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(
            x, standardised(self.weight), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class StdConv1d(nn.Conv1d):
    def forward(self, x):
        return self._conv_forward(x, standardised(self.weight), self.bias)


class GainConv2d(nn.Conv2d):
    """With a gain of its own, and padded to the size that the stride asks for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1) + 0.5)

    def forward(self, x):
        high, wide = (
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        x = F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
        weight = self.gain * standardised(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, 0, self.dilation, self.groups)


class EqualLinear(nn.Linear):
    """With an equalised learning rate, of the bias too."""

    def forward(self, x):
        return F.linear(x, self.weight * self.in_features**-0.5, self.bias * 0.1)


class MaskedConv2d(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("mask", torch.ones_like(self.weight))
        self.mask[:, :, 0, 0] = 0

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Net(nn.Module):
    """All of them: grouped, behind a norm, before and after flattening."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem, self.down = StdConv2d(3, 16, 3, padding=1, bias=False), GainConv2d(16, 24, 3, 2)
        self.grouped, self.norm = StdConv2d(24, 24, 3, padding=1, groups=4), nn.BatchNorm2d(24)
        self.masked, self.line = MaskedConv2d(24, 16, 3, padding=1), StdConv1d(16, 12, 3)
        self.hidden, self.fc = EqualLinear(12, 20), nn.Linear(20, num_classes)

    def forward(self, x):
        x = F.relu(self.norm(self.grouped(F.relu(self.down(F.relu(self.stem(x)))))))
        x = F.relu(self.line(F.relu(self.masked(x)).flatten(2)))
        return self.fc(F.relu(self.hidden(x.mean(2))))


class Bare(nn.Module):
    """No tensor tells whether its weights are plain."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem, self.conv = StdConv2d(3, 16, 3, padding=1), StdConv2d(16, 8, 3)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(F.relu(self.stem(x)))).mean((2, 3)))


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """As users name their factories: `module:factory`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


COMPUTED = ["stem", "down", "grouped", "masked", "line", "hidden"]


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    nn.init.uniform_(net.norm.running_mean, -0.2, 0.2)
    return net.eval()


@pytest.fixture
def bare():
    torch.manual_seed(0)
    return Bare().eval()


def test_they_become_plain_in_a_copy(net):
    x = torch.randn(2, *SIZE)
    copied, folded = plain(net)
    assert folded == tuple(f"{name}.weight" for name in COMPUTED)
    assert torch.allclose(copied(x), net(x), atol=1e-6)
    kinds = {name: type(copied.get_submodule(name)) for name in COMPUTED}
    assert set(kinds.values()) == {nn.Conv1d, nn.Conv2d, nn.Linear, SameConv2d}
    assert kinds["down"] is SameConv2d
    assert set(copied.state_dict()) == set(net.state_dict()) - {"down.gain", "masked.mask"}
    assert all(parameter.requires_grad for parameter in copied.parameters())
    assert type(net.stem) is StdConv2d
    assert plain(copied) == (copied, ())


@pytest.mark.parametrize("size", [(3, 16, 16), (3, 17, 18)])
def test_padding_follows_the_size(net, size):
    x = torch.randn(1, *size)
    assert torch.allclose(plain(net)[0](x), net(x), atol=1e-6)


def test_a_network_of_them_is_pruned_says_so_and_loads_again(net, tmp_path):
    wrapped = prune.wrap(net, SIZE, arch="test_own_weights:Net")
    thin = prune.prune(wrapped, prune.plan(wrapped, flops=0.5))
    assert thin.after.macs <= 0.5 * thin.before.macs
    assert thin.difference < 1e-12
    assert "stem.weight and 5 other weights are plain now" in " ".join(thin.notes)
    for name in ("thin.hdf5", "full.hdf5"):
        network = thin.network if name == "thin.hdf5" else wrapped
        prune.save(tmp_path / name, network)
        assert store.read(tmp_path / name).meta["plain"] == COMPUTED
        _same_elsewhere(tmp_path / name, "Net", network.model)
    torch.save(net.state_dict(), tmp_path / "raw.pth")  # as the network's own code keeps it
    raw = prune.load(tmp_path / "raw.pth", "test_own_weights:Net", input_size=SIZE)
    x = torch.randn(2, *SIZE)
    assert torch.allclose(raw.model(x), net(x), atol=1e-6)
    assert len(raw.made_plain) == 6


def _same_elsewhere(path, factory, model):
    """A process that has not seen the network gets the same answers out of the file alone."""
    x = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(3))
    answers = path.with_suffix(".pt")
    code = (
        "import prune, torch\n"
        f"model = prune.load({str(path)!r}, 'test_own_weights:{factory}').model\n"
        f"x = torch.randn(2, *{SIZE}, generator=torch.Generator().manual_seed(3))\n"
        f"torch.save(model.eval()(x).detach(), {str(answers)!r})\n"
    )
    warm.run(["-c", code], Path(__file__).parent, check=True)
    assert torch.allclose(torch.load(answers), model.eval()(x), atol=1e-6)


def test_without_a_word_of_the_file_names_of_tensors_are_believed(bare, tmp_path):
    torch.save(bare.state_dict(), tmp_path / "raw.pth")
    raw = prune.load(tmp_path / "raw.pth", "test_own_weights:Bare", input_size=SIZE)
    assert raw.made_plain == ("stem.weight", "conv.weight")
    prune.save(tmp_path / "plain.hdf5", raw)
    again = prune.load(tmp_path / "plain.hdf5", "test_own_weights:Bare")
    assert again.made_plain == ()  # they are so already
    x = torch.randn(2, *SIZE)
    assert torch.equal(again.model(x), raw.model(x))
    assert torch.allclose(again.model(x), bare(x), atol=1e-6)
    with pytest.raises(FitError, match=r"cannot say that the weight of 'stem'.*write \.hdf5"):
        prune.save(tmp_path / "plain.pth", again)


def test_trained_on_they_stay_plain(bare):
    model = prune.wrap(bare, SIZE).model
    before = model.stem.weight.detach().clone()
    model.train()(torch.randn(2, *SIZE)).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(model.stem.weight, before)
    assert type(copy.deepcopy(model).stem) is nn.Conv2d


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["fc.weight"], "'fc.weight' has a plain weight, and there is no such layer"),
        (["conv", "norm"], "'norm' has a plain weight, and there is no such layer"),
        ([3], r"'plain\[0\]' is 3|plain\[0\] is 3; it must be a text"),
        ("stem", "plain is 'stem'; it must be a list"),
    ],
)
def test_files_that_say_otherwise(bare, tmp_path, said, why):
    prune.save(tmp_path / "net.hdf5", prune.wrap(bare, SIZE, arch="test_own_weights:Bare"))
    file = store.read(tmp_path / "net.hdf5")
    store.write(
        tmp_path / "net.hdf5", store.WeightFile(file.tensors, {**file.meta, "plain": said}), force=True
    )
    with pytest.raises((FitError, BadWeightFile), match=why):
        prune.load(tmp_path / "net.hdf5", "test_own_weights:Bare")


class Dynamic(nn.Conv2d):
    """Its weight is another for every image."""

    def forward(self, x):
        return F.conv2d(x, self.weight * x.mean().sigmoid(), self.bias, padding=self.padding)


class Scaled(nn.Conv2d):
    """It does more than to convolve."""

    def forward(self, x):
        return F.conv2d(x, standardised(self.weight), self.bias, padding=self.padding).tanh()


class Cast(nn.Conv2d):
    """It computes nothing."""

    def forward(self, x):
        return F.conv2d(x, self.weight.to(x.dtype), self.bias, padding=self.padding)


class Guided(nn.Conv2d):
    """It takes something else beside."""

    def forward(self, x, scale):
        return F.conv2d(x, standardised(self.weight) * scale, self.bias, padding=self.padding)


@pytest.mark.parametrize("kind", [Dynamic, Scaled, Cast, Guided])
def test_what_is_more_than_a_weight_computed_from_parameters_stays(kind):
    model = nn.Sequential(kind(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    assert plain(model) == (model, ())


class ReadElsewhere(nn.Module):
    """Its encoder standardises what its decoder reads as it is."""

    def __init__(self):
        super().__init__()
        self.encode, self.last = StdConv2d(3, 8, 3, bias=False), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.last(F.conv_transpose2d(F.relu(self.encode(x)), self.encode.weight))


def test_a_weight_that_is_read_elsewhere_too_stays_computed():
    network = prune.wrap(ReadElsewhere(), SIZE)
    assert network.made_plain == ()
    assert type(network.model.encode) is StdConv2d


def test_it_is_folded_in_a_part(bare):
    model = nn.ModuleDict({"backbone": bare})
    part = prune.wrap(model, SIZE, part="backbone")
    thin = prune.prune(part, prune.plan(part, rate=0.5))
    assert thin.network.model.stem.weight.shape[0] == 8
    assert type(bare.stem) is StdConv2d
