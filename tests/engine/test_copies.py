"""Copies for cutting and proving: the user's network is neither written to nor held by what comes of it."""

import prune
import pytest
import torch
from prune.engine.modules.copies import computing_in, copied, unfilled
from torch import nn

SIZE = (3, 8, 8)


def network(kind=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(6 * 16, 5)).to(kind).eval()
    model[3].weight.requires_grad_(False)
    return model


def memory(model):
    return {tensor.data_ptr() for tensor in model.state_dict().values()}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_pruning_leaves_the_network_as_it_was(kind):
    model = network(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrapped = prune.wrap(model, SIZE)
    thin = prune.prune(wrapped, prune.plan(wrapped, rate=0.5))
    assert thin.difference < 1e-12
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert memory(model).isdisjoint(memory(thin.model))
    assert not thin.model[3].weight.requires_grad
    assert all(tensor.dtype == before[name].dtype for name, tensor in thin.model.state_dict().items())


def test_tied_weights_stay_tied_and_other_tensors_are_copied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model.register_buffer("mean", torch.ones(3))
    made = copied(model, lambda tensor: 2 * tensor)
    assert made[0].weight is made[1].weight
    assert torch.equal(made[0].weight, 2 * model[0].weight)
    assert torch.equal(made.mean, model.mean)
    assert memory(made).isdisjoint(memory(model))
    assert unfilled(model)[0].weight is not model[0].weight


def test_numbers_that_are_so_already_are_shared_on_request_alone():
    model = network(torch.float64)
    assert memory(model) & memory(computing_in(torch.float64, model, share=True))
    for other in (computing_in(torch.float64, model), computing_in(torch.float32, model, share=True)):
        assert memory(model).isdisjoint(memory(other))
    model.train()
    assert not computing_in(torch.float32, model).training
    assert model.training
