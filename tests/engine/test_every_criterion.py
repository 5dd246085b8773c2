"""What every criterion must do, whatever its name, and those that look at images."""

import pytest
import torch
from prune.engine import criteria
from prune.engine.errors import CriterionError
from prune.engine.events import Scored
from prune.engine.graph.trace import trace
from small_to_score import SIZE, make_batches, make_small, scores_of

torch.set_num_threads(1)


def test_names_are_file_names():
    assert criteria.names() == [
        "bn-scale",
        "fpgm",
        "hrank",
        "l1",
        "l2",
        "obs",
        "obs-measured",
        "random",
        "taylor",
    ]


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(CriterionError, match=r"no criterion 'hrnak'; did you mean 'hrank'\?"):
        criteria.get("hrnak")


@pytest.mark.parametrize("name", criteria.names())
def test_scores_every_convolution_in_float64_and_leaves_the_model_as_it_was(name):
    model = make_small()
    model.train()
    model.bn2.eval()
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scores = scores_of(name, model)
    assert {key: len(value) for key, value in scores.items()} == {"conv1": 8, "conv2": 6, "conv3": 8, "up": 5}
    assert all(value.dtype == torch.float64 and value.isfinite().all() for value in scores.values())
    assert model.training
    assert not model.bn2.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(model.conv1.weight.grad, torch.ones_like(model.conv1.weight))
    assert model.conv2.weight.grad is None


@pytest.mark.parametrize("name", criteria.names())
def test_permuting_filters_permutes_scores(name):
    model = make_small()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    before = scores_of(name, model)
    with torch.no_grad():
        for tensor in (model.conv2.weight, model.conv2.bias, *_bn_tensors(model.bn2)):
            tensor.copy_(tensor[order])
        model.conv3.weight.copy_(model.conv3.weight[:, order])
    after = scores_of(name, model)
    # Random scores belong to a position and not to a filter: they are the one criterion that stays.
    expected = before["conv2"] if name == "random" else before["conv2"][order]
    assert torch.allclose(after["conv2"], expected, rtol=1e-4, atol=1e-12)
    assert len(before["conv2"].unique()) > 1


def _bn_tensors(bn):
    return (bn.weight, bn.bias, bn.running_mean, bn.running_var)


@pytest.mark.parametrize("name", ["hrank", "taylor"])
def test_batch_size_does_not_matter(name):
    model = make_small()
    images, labels = (torch.cat(parts) for parts in zip(*make_batches(), strict=True))
    whole = scores_of(name, model, [(images, labels)])
    single = scores_of(name, model, [(images[i : i + 1], labels[i : i + 1]) for i in range(len(images))])
    for layer, scores_F in whole.items():
        assert torch.allclose(scores_F, single[layer], rtol=1e-4)


@pytest.mark.parametrize("name", ["hrank", "taylor"])
def test_it_says_how_far_it_got_and_leaves_gradients_alone_in_between(name):
    model = make_small()
    traced = trace(model, SIZE)
    work = criteria.scoring(name, model, traced, batches=make_batches(), total=2)
    for done in (1, 2):
        assert next(work) == Scored(done, 2)
        assert torch.is_grad_enabled()
    with torch.no_grad(), pytest.raises(StopIteration) as end:
        next(work)
    for layer, scores_F in scores_of(name, model).items():
        assert torch.equal(end.value.value[layer], scores_F)


@pytest.mark.parametrize("name", ["hrank", "taylor"])
def test_no_images_is_an_error(name):
    model = make_small()
    with pytest.raises(CriterionError, match="none were given"):
        criteria.score(name, model, trace(model, SIZE))
    with pytest.raises(CriterionError, match="there are none"):
        criteria.score(name, model, trace(model, SIZE), batches=[])


def test_weights_that_are_not_finite_are_an_error():
    model = make_small()
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(CriterionError, match="not finite for 'conv2'"):
        scores_of("l1", model)
    with pytest.raises(CriterionError, match="feature maps of 'conv2' are not finite"):
        scores_of("hrank", model)
