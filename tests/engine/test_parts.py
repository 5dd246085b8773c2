"""A part of a network is pruned where nothing could follow the whole: the rest sees what it saw."""

import prune
import pytest
import torch
from any_inputs import SIZE, Detector
from prune.engine.errors import FitError
from torch import nn


@pytest.fixture
def detector(randomise):
    return prune.wrap(randomise(Detector()).eval(), SIZE, part="backbone", arch="any_inputs:Detector")


def test_a_part_is_pruned_and_the_rest_sees_what_it_saw(detector):
    thin = prune.prune(detector, prune.plan(detector, rate=0.5))
    assert thin.model.backbone.stem.out_channels == 4
    assert thin.model.head is not detector.complete.head
    images = [torch.randn(SIZE), torch.randn(SIZE)]
    assert [boxes.shape for boxes in thin.model(images)] == [(1, 4), (1, 4)]
    assert detector.complete.backbone.stem.out_channels == 8, "the full network is left as it is"
    masked = detector.complete.backbone
    for name in ("stem", "body"):
        gone = sorted(set(range(len(masked.get_submodule(name).weight))) - set(thin.kept[name]))
        masked.get_submodule(name).weight.data[gone] = masked.get_submodule(name).bias.data[gone] = 0
        if name == "body":
            for slot in ("weight", "bias", "running_mean"):
                getattr(masked.norm, slot).data[gone] = 0
    for ours, theirs in zip(thin.model(images), detector.complete(images), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_part_in_place_and_its_optimizer(detector):
    whole = detector.complete
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.9)
    sum(boxes.sum() for boxes in whole([torch.randn(SIZE)])).backward()
    optimizer.step()
    thin = prune.prune(detector, prune.plan(detector, rate=0.5), in_place=True)
    assert thin.model is whole
    prune.carry_over(optimizer, thin)
    sum(boxes.sum() for boxes in whole([torch.randn(SIZE)])).backward()
    optimizer.step()
    assert optimizer.state[whole.backbone.stem.weight]["momentum_buffer"].shape[0] == 4


def test_an_optimizer_of_the_whole_goes_on_with_the_narrow_copy(detector):
    optimizer = torch.optim.SGD(detector.complete.parameters(), lr=0.1, momentum=0.9)
    thin = prune.prune(detector, prune.plan(detector, rate=0.5))
    prune.carry_over(optimizer, thin)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in thin.model.parameters()}


def test_a_part_is_saved_with_the_rest_and_found_again(detector, tmp_path):
    thin = prune.prune(detector, prune.plan(detector, rate=0.5))
    prune.save(tmp_path / "thin.hdf5", thin)
    loaded = prune.load(tmp_path / "thin.hdf5", "any_inputs:Detector")
    assert loaded.part == "backbone"
    images = [torch.randn(SIZE)]
    assert torch.equal(loaded.complete(images)[0], thin.model.eval()(images)[0])
    assert prune.prune(loaded, prune.plan(loaded, rate=0.5)).counts["stem"] == (2, 4)


def test_parts_that_are_none(detector):
    with pytest.raises(FitError, match="no `part` 'neck'; its parts are backbone, head"):
        prune.wrap(detector.complete, SIZE, part="neck")
    tied = Detector()
    tied.more = nn.Conv2d(3, 8, 3)
    tied.more.weight = tied.backbone.stem.weight
    with pytest.raises(FitError, match=r"'backbone' shares 'more\.weight' with the rest"):
        prune.wrap(tied, SIZE, part="backbone")
