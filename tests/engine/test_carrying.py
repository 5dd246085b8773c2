"""A module that is narrowed where it stands, and optimizers that go on with it."""

import copy
import warnings

import prune
import pytest
import torch
from prune.engine.errors import TrainingError
from torch import Tensor, nn

SIZE = (3, 12, 12)


class Net(nn.Module):
    """A residual network with a shared norm's width, a depthwise convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 1)
        self.each = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.inner = nn.BatchNorm2d(16)
        self.back = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        stream = self.norm(self.stem(images_NCHW)).relu()
        stream = stream + self.back(self.inner(self.each(self.wide(stream))).relu())
        return self.head(stream.mean((2, 3)))


MAKERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Net().train()


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, *SIZE, generator=generator), torch.arange(8)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> Tensor:
    images_NCHW, labels_N = batch(seed)
    loss = nn.functional.cross_entropy(model(images_NCHW), labels_N)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def halved(model: nn.Module, residual: str = "internal", **how: bool):
    net = prune.wrap(model, SIZE)
    return prune.prune(net, prune.plan(net, rate=0.5, residual=residual), **how)


@pytest.mark.parametrize(
    ("kind", "in_place"),
    [
        ("sgd", False),
        ("sgd", True),
        ("adamw", True),
        ("rmsprop", False),
        # That one entry of its state and where the network is go together is no case of its own.
        pytest.param("adamw", False, marks=pytest.mark.soak),
        pytest.param("rmsprop", True, marks=pytest.mark.soak),
    ],
)
def test_training_goes_on_with_the_old_optimizer(model, kind: str, in_place: bool):
    optimizer = MAKERS[kind]([{"params": [model.head.weight, model.head.bias]}, {"params": []}])
    rest = [p for name, p in model.named_parameters() if not name.startswith("head")]
    optimizer.param_groups[1]["params"] = rest
    optimizer.param_groups[1]["lr"] = 0.02
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for seed in range(3):
        loss = step(model, optimizer, seed)  # its graph lives on, with the old shapes
    before = copy.deepcopy({name: optimizer.state[p] for name, p in model.named_parameters()})

    thin = halved(model, in_place=in_place)
    prune.carry_over(optimizer, thin)
    assert thin.after.macs < thin.before.macs
    assert (thin.model is model) is in_place
    kept = thin.kept["wide"]
    for entry, value in before["wide.weight"].items():
        now = optimizer.state[thin.model.wide.weight][entry]
        assert torch.equal(now, value[kept] if value.dim() else value)
    for entry, value in before["back.weight"].items():
        now = optimizer.state[thin.model.back.weight][entry]
        assert torch.equal(now, value[:, kept] if value.dim() else value)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
    thin.model.train()
    weights = copy.deepcopy(thin.model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(thin.model, optimizer, 3)
        scheduler.step()
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.01)
    changed = [name for name, w in thin.model.named_parameters() if not torch.equal(w, weights[name])]
    assert len(changed) == len(list(thin.model.parameters())), "every parameter learns"
    assert loss.isfinite()


def test_a_carried_step_is_the_masked_step(model):
    """With the channels' momenta sliced like the weights, SGD moves the narrow net as it would the masked."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for seed in range(2):
        step(model, optimizer, seed)
    thin = halved(model)
    momentum = optimizer.state[model.wide.weight]["momentum_buffer"].clone()
    prune.carry_over(optimizer, thin)
    weight = thin.model.wide.weight
    before, images = weight.detach().clone(), batch(9)[0]
    optimizer.zero_grad()
    thin.model.train()(images).sum().backward()
    optimizer.step()
    expected = before - 0.05 * (0.9 * momentum[thin.kept["wide"]] + weight.grad)
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize(
    "residual", ["internal", pytest.param("coupled", marks=pytest.mark.soak), "scatter"]
)  # with `coupled` more leaves, in the same way
def test_in_place_keeps_every_object_and_equals_the_copy(model, residual: str):
    parameters, modules = list(model.parameters()), list(model.modules())
    thin = halved(copy.deepcopy(model), residual)
    seen: list[int] = []
    model.wide.register_forward_hook(lambda *args: seen.append(args[2].shape[1]))
    images = batch(5)[0]
    for grown in (model.train()(images).sum(), model(images).sum()):
        grown.backward()
    there = halved(model, residual, in_place=True)
    assert there.model is there.network.model is model
    assert [p is q for p, q in zip(parameters, model.parameters(), strict=True)] == [True] * len(parameters)
    assert all(module in list(model.modules()) for module in modules)
    assert model.training
    assert all(p.grad is None for p in parameters)
    assert prune.count(there).macs == there.after.macs == thin.after.macs
    seen.clear()
    assert torch.equal(model.eval()(images[:2]).argmax(1), there.model(images[:2]).argmax(1))
    assert seen[-1] == len(thin.kept["wide"]) == model.wide.out_channels
    again = halved(model, residual, in_place=True)
    assert again.after.macs < there.after.macs
    model.train()(images).sum().backward()


def test_one_that_is_left_behind_warns_once_when_it_steps(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    step(model, optimizer, 0)
    halved(model)
    thin = halved(model)
    said = r"this SGD still belongs .* prune\.carry_over\(optimizer, thin\)"
    with pytest.warns(UserWarning, match=said) as warned:
        optimizer.step()
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        other.step()
        prune.carry_over(optimizer, thin)
        step(thin.model.train(), optimizer, 1)


def test_in_place_an_optimizer_without_a_past_needs_nothing(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    halved(model, in_place=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(model, optimizer, 1)
    halved(model, in_place=True)
    with pytest.warns(UserWarning, match="this SGD still belongs"), pytest.raises(RuntimeError):
        step(model, optimizer, 1)


def test_what_cannot_be_carried_over_is_named_and_stays(model):
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    thin = halved(model)
    with pytest.raises(TrainingError, match="this SGD holds no parameter of the network that was pruned"):
        prune.carry_over(other, thin)
    optimizer = torch.optim.Adafactor(model.parameters())
    step(model, optimizer, 0)
    held = list(optimizer.param_groups[0]["params"])
    with pytest.raises(TrainingError, match="make a new optimizer"):
        prune.carry_over(optimizer, thin)
    assert all(p is q for p, q in zip(held, optimizer.param_groups[0]["params"], strict=True))
    assert all(p in optimizer.state for p in held)
