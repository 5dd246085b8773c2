"""Linear layers have widths of their own: hidden units are scored, chosen, cut and proven like filters."""

import copy
import importlib
import sys
from pathlib import Path

import prune
import pytest
import torch
from prune.engine import criteria
from prune.engine.allocations import allocation_of
from prune.engine.criteria.fpgm import geometric_median_scores
from prune.engine.errors import AllocationError
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
token_networks = importlib.import_module("token_networks")
SIZE, make_tokens = token_networks.SIZE, token_networks.make_tokens
HIDDEN = {"whole.fc1": 20, "windows.fc1": 16, "hidden": 14}


@pytest.fixture(scope="module")
def model():
    return make_tokens()


@pytest.fixture(scope="module")
def traced(model):
    return trace(model, SIZE)


@pytest.fixture(scope="module")
def net(model):
    return prune.wrap(model, SIZE)


@pytest.fixture(scope="module")
def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, *SIZE, generator=generator), torch.arange(4)) for _ in range(3)]


def widths(outcome):
    return {name: len(outcome.model.get_submodule(name).weight) for name in HIDDEN}


def test_positions_are_those_of_one_image_wherever_the_code_puts_the_batch(traced):
    cost = {layer.name: layer.macs for layer in count(traced.map).layers}
    assert cost["whole.fc1"] == 16 * 12 * 20
    assert cost["windows.fc1"] == 16 * 12 * 16  # its windows stand in the batch
    assert cost["hidden"] == 12 * 14
    assert cost["patches"] == 16 * 12 * 3 * 16


def test_what_a_layer_norm_reads_and_what_the_network_answers_stay(traced):
    groups = {group.name: group for group in traced.map.groups}
    assert {name for name, group in groups.items() if group.free.all()} == set(HIDDEN)
    assert "layer_norm in whole.norm" in next(iter(groups["patches"].pinned.values()))
    assert groups["head"].producers == ()


@pytest.mark.parametrize("name", [name for name in criteria.names() if name != "hrank"])
def test_every_criterion_scores_units(name, model, traced, batches):
    if name == "bn-scale":
        assert criteria.passed_over(name, traced.map) == ["whole.fc1", "windows.fc1"]
        layers = {"hidden": 14}
        conv = model.patches
        model = copy.deepcopy(model)
        model.patches = nn.Sequential(conv, nn.BatchNorm2d(12)).eval()
        traced = trace(model, SIZE)
    else:
        layers = HIDDEN
    scores = criteria.score(name, model, traced, batches=batches)
    assert {layer: len(scores[layer]) for layer in scores if layer in HIDDEN} == layers
    assert all(len(scores[layer].unique()) > 1 for layer in layers)
    assert "head" not in scores


def test_formulas_are_those_of_convolutions_with_a_kernel_of_one(model, traced):
    weight = model.whole.fc1.weight.detach()
    as_conv = geometric_median_scores(weight[:, :, None, None])
    assert torch.equal(criteria.score("fpgm", model, traced)["whole.fc1"], as_conv)
    l1 = weight.double().abs().sum(1)
    assert torch.equal(criteria.score("l1", model, traced)["whole.fc1"], l1)


def test_taylor_adds_up_the_tokens_of_an_image_and_squares_per_image(model, traced, batches):
    scores = criteria.score("taylor", model, traced, batches=batches)
    expected = {name: torch.zeros(units) for name, units in HIDDEN.items()}
    for images, labels in batches:
        for image, label in zip(images, labels, strict=True):
            loss = nn.functional.cross_entropy(model(image[None]), label[None])
            for name, total_F in expected.items():
                weight = model.get_submodule(name).weight
                (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
                total_F += (gradient * weight).sum(1).detach() ** 2
    for name, total_F in expected.items():
        assert torch.allclose(scores[name], total_F.double() / 12, rtol=1e-3, atol=1e-12), name


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({"rate": 0.5}, (10, 8, 7)),
        ({"layer_rates": ("*.fc1=0.25", "hidden=0.5")}, (15, 12, 7)),
        ({"rate": 0.5, "skip": ("windows.*",)}, (10, 16, 7)),
        ({"rate_norm": 0.9, "rate_dist": 0.2}, (15, 12, 11)),
        ({"layers": [{"op_types": ["Linear"], "sparsity": 0.5}]}, (10, 8, 7)),
        ({"layers": {"whole.*": 0.5}}, (10, 16, 14)),
        ({"flops": 0.6, "round_to": 4}, None),
    ],
)
def test_every_allocation_narrows_them(net, wanted, left):
    outcome = prune.prune(net, prune.plan(net, **wanted))
    assert outcome.difference < 1e-12
    found = widths(outcome)
    if left is None:
        assert outcome.after.macs <= 0.6 * outcome.before.macs
        assert all(width % 4 == 0 or width == HIDDEN[name] for name, width in found.items())
    else:
        assert tuple(found.values()) == left
    again = prune.prune(net, outcome.plan)
    assert widths(again) == found
    kept = outcome.kept["whole.fc1"]
    assert torch.equal(outcome.model.whole.fc2.weight, net.model.whole.fc2.weight[:, kept])


def test_scores_that_do_not_know_them_leave_them_whole(net, traced, batches):
    assert criteria.passed_over("hrank", traced.map) == list(HIDDEN)
    vgg = new_network("small_networks:vgg", num_classes=10, input_size=(3, 32, 32))
    scores = {name: torch.arange(len(s)) for name, s in prune.rank(vgg, "l1").items()}
    units = scores.pop("linear1")
    assert len(units) == 512
    outcome = prune.prune(vgg, prune.plan(vgg, scores, rate=0.5))
    assert len(outcome.model.linear1.weight) == 512
    assert sum(outcome.counts[name][0] for name in scores) == sum(map(len, scores.values())) // 2
    allocation = allocation_of({"rate": 0.5})
    assert len(prune_network(vgg, allocation, scores).model.linear1.weight) == 512


def test_lists_of_the_papers_speak_of_convolutions():
    lenet = new_network("lenet5")
    outcome = prune.prune(lenet, prune.plan(lenet, compress_rate="[0.5]*2"))
    assert outcome.model.linear1.out_features == 500
    with pytest.raises(AllocationError, match="nothing may leave"):
        prune.plan(prune.wrap(make_tokens(), SIZE), compress_rate="[0.5]*3")


def test_saved_loaded_and_trained(net, tmp_path):
    from dataclasses import replace

    outcome = prune.prune(net, prune.plan(net, rate=0.5))
    path = tmp_path / "narrow.hdf5"
    save_network(path, replace(outcome.network, arch="token_networks:make_tokens"))
    loaded = load_network(path, "token_networks:make_tokens", input_size=SIZE)
    images = torch.randn(3, *SIZE)
    assert torch.equal(loaded.model(images), outcome.model(images))
    assert loaded.model.whole.fc1.out_features == loaded.model.whole.fc2.in_features == 10
    step = torch.optim.SGD(loaded.model.parameters(), 0.1)
    loaded.model.train()(images).square().mean().backward()
    step.step()


def test_a_parameter_that_is_also_read_otherwise_stays():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, images_NCHW):
            x = self.into(images_NCHW.mean((2, 3)).repeat(1, 2))
            return nn.functional.linear(self.out(x).relu(), self.into.weight)

    (first, *_) = trace(Tied(), SIZE).map.groups
    assert not first.free.any()

    class Transposed(Tied):
        def forward(self, images_NCHW):
            x = self.into(images_NCHW.mean((2, 3)).repeat(1, 2)).relu()
            return self.out(x) + self.into.weight.sum()

    (first, *_) = trace(Transposed(), SIZE).map.groups
    assert "into.weight is also read at" in next(iter(first.pinned.values()))
