"""What can be made up for is made up for: removed channels that are sums of kept ones leave no trace."""

import copy

import pytest
import torch
from mending import images, mend
from prune.engine.compensation.compensate import compensate
from prune.engine.compensation.fitting import Settings
from prune.engine.events import unwatched
from prune.engine.graph.trace import trace
from prune.engine.narrowing.narrowing import narrow_proven
from torch import Tensor, nn

SIZE = (3, 12, 12)
EXACTLY = Settings(ridge=1e-9)


class Redundant(nn.Module):
    """Channels 4 to 7 of `source` are mixtures of its channels 0 to 3; `reader` reads them all."""

    def __init__(self, *readers: nn.Module, features: int = 10) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.source = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.source.weight.data[4:] = torch.einsum("oi,ichw->ochw", torch.randn(4, 4), self.source.weight[:4])
        self.readers = nn.Sequential(*readers)
        self.head = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.readers(self.source(x))
        return self.head(x.mean((2, 3)) if x.dim() == 4 else x)


class Concatenated(Redundant):
    """Two readers, side by side and behind a concatenation with something else."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(11, 10, 3, bias=False))
        self.beside = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        source = self.source(x)
        read = self.readers(torch.cat([x, source], 1)).mean((2, 3))
        return self.head(torch.cat([read, self.beside(source).mean((2, 3))], 1))


def alike() -> nn.Conv2d:
    """A depthwise convolution that treats all channels the same way."""
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    layer.weight.data[:] = layer.weight.data[:1].clone()
    return layer


NETWORKS = {
    "plain": lambda: Redundant(nn.Conv2d(8, 10, 3, padding=1)),
    "without bias": lambda: Redundant(nn.Conv2d(8, 10, 3, padding=1, bias=False)),
    "normalised": lambda: Redundant(nn.Conv2d(8, 10, 3, bias=False), nn.BatchNorm2d(10), nn.ReLU()),
    "bias and norm": lambda: Redundant(nn.Conv2d(8, 10, 3), nn.BatchNorm2d(10), nn.ReLU()),
    "norm without affine": lambda: Redundant(nn.Conv2d(8, 10, 3), nn.BatchNorm2d(10, affine=False)),
    "transposed": lambda: Redundant(nn.ConvTranspose2d(8, 10, 4, 2, 1), nn.BatchNorm2d(10), nn.ReLU()),
    "depthwise between": lambda: Redundant(alike(), nn.Conv2d(8, 10, 1)),
    "pooled and flattened": lambda: Redundant(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)),
    "concatenated": Concatenated,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_redundant_channels_leave_no_trace(name: str, randomise):
    model = NETWORKS[name]().eval()
    model = model if name == "norm without affine" else randomise(model)
    traced = trace(model, SIZE)
    removed = traced.map.layer("source").out_ids[4:].tolist()
    cut = narrow_proven(model, traced, SIZE, lambda _: removed)
    thin = copy.deepcopy(cut.model)
    calibration, held = images(192, SIZE), images(32, SIZE, seed=1)
    report = unwatched(compensate(model, thin, cut.map, cut.removed, [calibration], EXACTLY))
    with torch.no_grad():
        wanted, sliced, found = model(held), cut.model(held), thin(held)
    assert (sliced - wanted).abs().max() > 1e-2
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert all(layer.after <= layer.before + 1e-9 for layer in report.layers)
    assert {n: t.shape for n, t in thin.state_dict().items()} == {
        n: t.shape for n, t in cut.model.state_dict().items()
    }


def test_nothing_removed_changes_nothing(randomise):
    model = randomise(NETWORKS["normalised"]())
    mended = mend(model, SIZE, images(64, SIZE), rate=0)
    assert mended.report.layers == ()
    before, after = model.state_dict(), mended.thin.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_consumer_is_the_ridge_regression_written_out(randomise):
    """By unfolding, centring and one solve, with the normalisation divided out by hand."""
    model = randomise(NETWORKS["normalised"]())
    model.readers[2] = nn.Tanh()  # of what a ReLU hides, less would have to be met
    traced = trace(model, SIZE)
    removed = traced.map.layer("source").out_ids[2:5].tolist()
    cut = narrow_proven(model, traced, SIZE, lambda _: removed)
    thin, x = copy.deepcopy(cut.model), images(128, SIZE)
    unwatched(compensate(model, thin, cut.map, cut.removed, [x]))

    conv, norm = model.readers[0], model.readers[1]
    with torch.no_grad():
        target = model.readers[:2](model.source(x)).transpose(0, 1).flatten(1).double()
        inputs = nn.functional.unfold(cut.model.source(x), 3).transpose(0, 1).flatten(1).double()
        scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).double()
        start = cut.model.readers[0].weight.flatten(1).double() * scale[:, None]
        centred_a, centred_t = (v - v.mean(1, keepdim=True) for v in (inputs, target))
        gram = centred_a @ centred_a.T / inputs.shape[1]
        ridge = 0.01 * gram.diagonal().mean() * torch.eye(len(gram)).double()
        cross = centred_a @ centred_t.T / inputs.shape[1]
        weight = torch.linalg.solve(gram + ridge, cross + ridge @ start.T).T
        wanted = weight @ (inputs - inputs.mean(1, keepdim=True)) + target.mean(1, keepdim=True)
        found = thin.readers[:2](thin.source(x)).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert conv.weight.shape[1] == 8

    # Its normalisation's statistics are those of the inputs that it gets now.
    with torch.no_grad():
        made = thin.readers[0](thin.source(x))
    torch.testing.assert_close(thin.readers[1].running_mean, made.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(thin.readers[1].running_var, made.var((0, 2, 3)), rtol=1e-3, atol=1e-3)
