"""Every criterion against a loop written from its paper."""

import pytest
import torch
from prune.engine import criteria
from prune.engine.criteria.bn_scale import following_bn_weights
from prune.engine.criteria.fpgm import geometric_median_scores
from prune.engine.criteria.l1 import l1_norms
from prune.engine.criteria.l2 import l2_norms
from prune.engine.errors import CriterionError
from prune.engine.graph.trace import trace
from small_to_score import SIZE, make_batches, make_small, scores_of
from torch import nn

torch.set_num_threads(1)


def test_norms_against_a_loop():
    weight_FCHW = torch.randn(5, 3, 3, 3)
    for f in range(5):
        values = weight_FCHW[f].double().flatten().tolist()
        assert l1_norms(weight_FCHW)[f].item() == pytest.approx(sum(abs(v) for v in values))
        assert l2_norms(weight_FCHW)[f].item() == pytest.approx(sum(v * v for v in values) ** 0.5)


def test_a_transposed_convolution_has_its_filters_on_axis_1():
    model = make_small()
    expected = [model.up.weight[:, f].abs().sum().item() for f in range(5)]
    assert scores_of("l1", model)["up"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("distance", ["l2", "l1", "cosine"])
def test_geometric_median_scores_against_a_loop(distance):
    weight_FCHW = torch.randn(7, 2, 3, 3)
    weight_FCHW[3] = weight_FCHW[2] * 2
    rows = [row.double() for row in weight_FCHW.flatten(1)]
    between = {
        "l2": lambda a, b: (a - b).norm().item(),
        "l1": lambda a, b: (a - b).abs().sum().item(),
        "cosine": lambda a, b: -abs((a @ b / a.norm() / b.norm()).item()),
    }[distance]
    expected = [sum(between(a, b) for j, b in enumerate(rows) if j != i) for i, a in enumerate(rows)]
    scores_F = geometric_median_scores(weight_FCHW, distance)
    assert scores_F.dtype == torch.float64
    assert scores_F.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("distance", ["l2", "l1", "cosine"])
def test_geometric_median_scores_of_lone_equal_and_zero_filters(distance):
    assert geometric_median_scores(torch.randn(1, 2, 3, 3), distance).tolist() == [0]
    twins = geometric_median_scores(torch.ones(3, 2, 3, 3), distance)
    assert twins.unique().numel() == 1
    assert geometric_median_scores(torch.zeros(3, 2, 3, 3), distance).abs().sum() == 0


def test_bn_scale_takes_the_batch_normalisation_of_each_conv():
    model = make_small()
    assert following_bn_weights(trace(model, SIZE).map) == {
        "conv1": "bn1.weight",
        "conv2": "bn2.weight",
        "conv3": "bn3.weight",
        "up": "bn4.weight",
    }
    assert torch.equal(scores_of("bn-scale", model)["conv3"], model.bn3.weight.detach().double().abs())


def test_bn_scale_names_convs_without_batch_normalisation():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    model = nn.Sequential(model, nn.Conv2d(4, 2, 1))
    with pytest.raises(CriterionError, match=r"none follows 0\.0; choose"):
        criteria.score("bn-scale", model, trace(model, SIZE))


def test_taylor_against_one_backward_pass_per_image():
    model = make_small()
    batches = make_batches()
    scores = scores_of("taylor", model, batches)
    model.eval()
    expected = {"conv1": torch.zeros(8), "conv2": torch.zeros(6), "up": torch.zeros(5)}
    images = 0
    for images_NCHW, labels_N in batches:
        for image, label in zip(images_NCHW, labels_N, strict=True):
            loss = nn.functional.cross_entropy(model(image[None]), label[None])
            for name, total_F in expected.items():
                weight = getattr(model, name).weight
                (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
                change = gradient * weight
                change_F = change.sum((0, 2, 3)) if name == "up" else change.sum((1, 2, 3))
                total_F += change_F.detach() ** 2
            images += 1
    for name, total_F in expected.items():
        assert torch.allclose(scores[name], total_F.double() / images, rtol=1e-3, atol=1e-12), name


def test_taylor_of_a_conv_used_twice_sums_both_uses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.linear = nn.Linear(3, 4)

        def forward(self, x):
            return self.linear(self.conv(self.conv(x).tanh()).mean((2, 3)))

    torch.manual_seed(0)
    model = Twice()
    images, labels = make_batches((1,))[0]
    scores_F = criteria.score("taylor", model, trace(model, SIZE), batches=[(images, labels)]).get("conv")
    loss = nn.functional.cross_entropy(model(images), labels)
    (gradient,) = torch.autograd.grad(loss, model.conv.weight)
    expected_F = (gradient * model.conv.weight).sum((1, 2, 3)).detach() ** 2
    assert scores_F is not None
    assert torch.allclose(scores_F, expected_F.double(), rtol=1e-4)


def test_hrank_ranks_the_activation_map_by_map():
    model = make_small()
    batches = make_batches()
    scores = scores_of("hrank", model, batches)
    model.eval()
    maps = {"conv1": [], "conv2": [], "conv3": [], "up": []}
    with torch.no_grad():
        for x, _ in batches:
            x = model.bn1(model.conv1(x)).relu()
            maps["conv1"].append(x)
            y = model.bn2(model.conv2(x)).relu()
            maps["conv2"].append(y)
            x = (x + model.bn3(model.conv3(y))).relu()
            maps["conv3"].append(x)
            maps["up"].append(model.bn4(model.up(x)).relu())
    for name, parts in maps.items():
        ranks_NF = [[torch.linalg.matrix_rank(m).item() for m in image] for image in torch.cat(parts)]
        expected_F = torch.tensor(ranks_NF, dtype=torch.float64).mean(0)
        assert torch.equal(scores[name], expected_F), name


def test_hrank_notices_a_forward_pass_that_differs_from_the_traced_one():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.linear = nn.Linear(4, 4)
            self.active = True

        def forward(self, x):
            x = self.conv(x)
            return self.linear((x.relu() if self.active else x).mean((2, 3)))

    model = Fickle()
    traced = trace(model, SIZE)
    model.active = False
    with pytest.raises(CriterionError, match="feature maps of conv did not occur"):
        criteria.score("hrank", model, traced, batches=make_batches())


def test_random_scores_depend_on_seed_and_layer_alone():
    model = make_small()
    traced = trace(model, SIZE)
    first = criteria.score("random", model, traced, seed=1)
    again = criteria.score("random", make_small(seed=5), traced, seed=1)
    other = criteria.score("random", model, traced, seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1"], other["conv1"])
    assert not torch.equal(first["conv1"], first["conv3"])
