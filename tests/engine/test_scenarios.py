"""What users of other structured pruners rely on, each in a network of a few layers."""

import prune
import pytest
import torch
from prune.engine.errors import AllocationError
from torch import nn
from torch.nn import functional as F

SIZE = (10, 7, 7)


def conv(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 1), nn.BatchNorm2d(o), nn.GELU())


def halved(model: nn.Module, takes=SIZE, **wanted):
    """The network with half of what may leave gone, and the module itself."""
    takes = {"inputs": takes} if isinstance(takes, torch.Tensor) else {"input_size": takes}
    network = prune.wrap(model.eval(), **takes)
    outcome = prune.prune(network, prune.plan(network, rate=0.5, **wanted))
    assert outcome.difference < 1e-12
    return outcome


class Cascade(nn.Module):
    """Concatenations of concatenations."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(conv(10, width) for width in (10, 20, 30, 60))
        self.head = nn.Conv2d(120, 10, 1)

    def forward(self, x):
        together = self.parts[0](x)
        for part in self.parts[1:]:
            together = torch.cat([together, part(x)], 1)
        return self.head(together)


def test_cascaded_concatenation(randomise):
    thin = halved(randomise(Cascade()))
    assert [part[0].out_channels for part in thin.model.parts] == [5, 10, 15, 30]


class SplitByAttributes(nn.Module):
    """A split whose sizes are computed from what the layers say of themselves."""

    def __init__(self):
        super().__init__()
        self.wide, self.other, self.join = conv(10, 20), conv(10, 10), conv(20, 10)

    def forward(self, x):
        beside, x = self.other(x), self.wide(x)
        own = self.join[0].in_channels - self.other[1].num_features
        first, second = torch.split(x, (own, self.wide[1].num_features - own), 1)
        return self.join(torch.cat([first, beside], 1)) + second


def test_a_split_by_what_layers_say_of_themselves(randomise):
    thin = halved(randomise(SplitByAttributes()))
    assert thin.model.other[0].out_channels == 5
    assert thin.model(torch.randn(2, *SIZE)).shape == (2, 10, 7, 7)


class AlongHeight(nn.Module):
    """Concatenated and split along another axis than that of channels."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three, self.four = (
            conv(10, 12),
            conv(10, 12),
            conv(12, 8),
            nn.Conv2d(8, 4, 1),
        )

    def forward(self, x):
        together = self.three(torch.cat([self.one(x), self.two(x)], 2))
        upper, _ = torch.split(together, [x.shape[2], x.shape[2]], 2)
        return self.four(upper)


def test_concatenation_along_another_axis(randomise):
    thin = halved(randomise(AlongHeight()), residual="coupled")
    assert thin.model.one[0].out_channels == thin.model.two[0].out_channels == 6
    assert thin.model.three[0].out_channels == 4


class Normalised(nn.Module):
    """A layer of one's own: divided by a norm over its channels, with a scale and a shift."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 10)
        self.scale, self.shift = nn.Parameter(torch.rand(32)), nn.Parameter(torch.rand(32))

    def forward(self, x):
        x = self.first(x).relu()
        x = x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-6)
        return self.last(x * self.scale + self.shift)


def test_a_layer_of_ones_own_with_parameters_of_its_own(randomise):
    thin = halved(randomise(Normalised()), torch.randn(2, 16))
    assert thin.model.first.out_features == len(thin.model.scale) == len(thin.model.shift) == 16


class Reshaped(nn.Module):
    """Hidden units that become channels, four by four pixels of each; and channels that become features."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(12, 16 * 16)
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.last = nn.Linear(8 * 64, 5)

    def forward(self, x):
        x = self.into(x).relu().view(-1, self.up.in_channels, 4, 4)
        return self.last(self.up(x).relu().flatten(1))


def test_features_that_become_channels_and_back(randomise):
    thin = halved(randomise(Reshaped()), torch.randn(2, 12))
    assert thin.model.into.out_features == 8 * 16
    assert thin.model.up.in_channels == 8
    assert thin.model.last.in_features == thin.model.up.out_channels * 64 == 4 * 64


def test_a_single_channel_as_output(randomise):
    model = randomise(nn.Sequential(conv(10, 16), conv(16, 64), nn.Conv2d(64, 1, 3, 1, 1), nn.BatchNorm2d(1)))
    thin = halved(model)
    assert [thin.model[0][0].out_channels, thin.model[1][0].out_channels] == [8, 32]
    assert thin.model[2].out_channels == 1


class Unused(nn.Module):
    """Layers and parameters that nothing uses."""

    def __init__(self):
        super().__init__()
        self.used, self.head = conv(10, 8), nn.Conv2d(8, 4, 1)
        self.never, self.spare = nn.Conv2d(8, 8, 1), nn.Parameter(torch.rand(8))

    def forward(self, x):
        return self.head(self.used(x))


def test_parameters_that_nothing_uses_stay_as_they_are(randomise):
    thin = halved(randomise(Unused()))
    assert thin.model.used[0].out_channels == 4
    assert thin.model.never.out_channels == len(thin.model.spare) == 8


class LayerScaled(nn.Module):
    """ConvNeXt's block: depthwise, norm and two linear layers over channels last, a scale, an addition."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(10, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.norm, self.up, self.down = nn.LayerNorm(12), nn.Linear(12, 48), nn.Linear(48, 12)
        self.scale, self.head = nn.Parameter(torch.rand(12, 1, 1)), nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        hidden = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        hidden = self.down(F.gelu(self.up(hidden))).permute(0, 3, 1, 2)
        return self.head((x + self.scale * hidden).mean((2, 3)))


def test_hidden_units_leave_and_the_stream_of_a_layer_norm_stays(randomise):
    thin = halved(randomise(LayerScaled()))
    assert thin.model.up.out_features == thin.model.down.in_features == 24
    assert thin.model.stem.out_channels == 12


class TwoInTwoOut(nn.Module):
    """Two images and a vector in, two answers out."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.vector = conv(3, 8), conv(3, 8), nn.Linear(6, 16)
        self.join, self.one, self.two = conv(16, 12), nn.Conv2d(12, 2, 1), nn.Linear(12, 3)

    def forward(self, left, right, vector):
        x = torch.cat([self.left(left), self.right(right)], 1) * self.vector(vector)[:, :, None, None]
        x = self.join(x)
        return self.one(x), {"classes": self.two(x.mean((2, 3)))}


def test_several_inputs_and_outputs(randomise):
    inputs = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.randn(2, 6)
    network = prune.wrap(randomise(TwoInTwoOut()).eval(), inputs=inputs)
    thin = prune.prune(network, prune.plan(network, rate=0.5))
    assert thin.difference < 1e-12
    assert thin.model.left[0].out_channels + thin.model.right[0].out_channels == 8
    assert thin.model.vector.out_features == 8


@pytest.mark.parametrize("multiple", [4, *(pytest.param(n, marks=pytest.mark.soak) for n in (2, 8))])
def test_widths_are_rounded(randomise, multiple):
    network = prune.wrap(randomise(Cascade()).eval(), SIZE)
    wanted = prune.plan(network, flops=0.6, round_to=multiple, skip=("parts.0*",))
    thin = prune.prune(network, wanted)
    widths = [part[0].out_channels for part in thin.model.parts]
    assert widths[0] == 10
    assert all(width % multiple == 0 for width in widths[1:])


def test_a_step_of_training_after_pruning(randomise):
    thin = halved(randomise(SplitByAttributes()))
    optimizer = torch.optim.SGD(thin.model.train().parameters(), lr=0.1)
    before = thin.model.other[0].weight.detach().clone()
    thin.model(torch.randn(2, *SIZE)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(before, thin.model.other[0].weight)


def test_chosen_by_hand(randomise):
    network = prune.wrap(randomise(Cascade()).eval(), SIZE)
    chosen = prune.plan(network, layers={"parts.1.0": 0.25})
    assert prune.prune(network, chosen).model.parts[1][0].out_channels == 15


class OneForAll(nn.Module):
    """A scale and a shift that are one number for all channels, as learnable affine blocks have them."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = conv(10, 8), conv(8, 8), nn.Conv2d(8, 4, 1)
        self.scale, self.shift = nn.Parameter(torch.tensor([1.5])), nn.Parameter(torch.tensor([0.5]))

    def forward(self, x):
        return self.last(self.second(self.scale * self.first(x) + self.shift))


def test_what_one_number_is_added_to_does_not_read_as_zero(randomise):
    thin = halved(randomise(OneForAll()))
    assert thin.model.first[0].out_channels == 8, "without a channel, the shift behind it would be missing"
    assert thin.model.second[0].out_channels == 4


class LoneHead(nn.Module):
    """Attention of a single head, whose scale is that of its width."""

    def __init__(self, scale: float | None):
        super().__init__()
        self.qkv, self.last, self.scale = nn.Linear(12, 24), nn.Linear(8, 5), scale

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.last(F.scaled_dot_product_attention(4 * q, k, v, scale=self.scale))


@pytest.mark.parametrize(("scale", "left"), [(None, 24), (0.3, 12)])
def test_a_scale_by_the_width_of_a_head_holds_it(randomise, scale, left):
    network = prune.wrap(randomise(LoneHead(scale)).eval(), inputs=torch.randn(2, 6, 12))
    if scale is None:
        with pytest.raises(AllocationError, match="nothing may leave"):
            prune.plan(network, rate=0.5)
        return
    thin = prune.prune(network, prune.plan(network, rate=0.5))
    assert thin.model.qkv.out_features == left
    assert thin.difference < 1e-12
