"""Inputs of any number and kind, outputs in any tree: pruned, saved, scored, measured and made up for."""

import json

import prune
import pytest
import torch
from any_inputs import SIZE, Diffusion, Several
from prune.engine.errors import CriterionError, DataError, FitError
from prune.engine.modules.inputs import Inputs, TensorLike
from torch import nn


@pytest.fixture
def several(randomise):
    return prune.wrap(randomise(Several()).eval(), SIZE)


@pytest.fixture
def diffusion(randomise):
    model = randomise(Diffusion()).eval()
    return prune.wrap(model, inputs=(torch.randn(1, *SIZE), torch.tensor([7])), arch="any_inputs:Diffusion")


def test_outputs_keep_their_channels_wherever_they_are_in_the_tree(several):
    thin = prune.prune(several, prune.plan(several, rate=0.5))
    assert thin.counts == {"stem": (4, 8), "body": (6, 12), "mask": (5, 5), "edge": (2, 2)}
    assert thin.difference < 1e-12
    images = torch.randn(2, *SIZE)
    before, after = several.model(images), thin.model(images)
    assert after["mask"].shape == before["mask"].shape
    assert after["edges"][0].shape == before["edges"][0].shape
    assert not several.classifies


def test_several_inputs_of_any_kind(diffusion):
    assert str(diffusion.inputs) == "(2x3x16x16, 2 int64)", "one sample is special, so there are two"
    thin = prune.prune(diffusion, prune.plan(diffusion, rate=0.5))
    assert thin.kept.keys() == {"stem", "body", "head"}
    assert thin.counts["stem"] == (4, 8)
    noise = thin.model(torch.randn(3, *SIZE), torch.tensor([1, 2, 9]))["noise"]
    assert noise.shape == (3, *SIZE)


def test_costs_are_those_of_one_sample(diffusion):
    pixels = 16 * 16
    macs = {layer.name: layer.macs for layer in prune.count(diffusion).layers}
    assert macs["stem"] == 3 * 8 * 9 * pixels
    assert macs["into"] == 6 * 8


def test_keywords_and_trees_of_tensors(randomise):
    more = {"add": torch.zeros(4, 3, 16, 16)}
    example = {"x": torch.randn(4, *SIZE), "times": torch.arange(4), "strength": 0.5, "more": more}
    network = prune.wrap(randomise(Diffusion()).eval(), inputs=example)
    assert network.inputs.batch == 4
    thin = prune.prune(network, prune.plan(network, flops=0.5))
    assert thin.after.macs <= thin.before.macs / 2
    assert "strength=0.5, more={add: 4x3x16x16}" in str(network.inputs)


def test_a_network_for_one_sample_alone_is_taken_as_it_is():
    class Alone(Several):
        def forward(self, x):
            return super().forward(x.reshape(1, 3, 16, 16))["mask"].reshape(5, 16, 16)

    network = prune.wrap(Alone().eval(), inputs=torch.randn(1, 3, 256))
    assert network.inputs.batch == 1
    assert prune.prune(network, prune.plan(network, rate=0.5)).counts["stem"] == (4, 8)


def test_saved_and_loaded_without_a_word_about_inputs(diffusion, tmp_path):
    thin = prune.prune(diffusion, prune.plan(diffusion, rate=0.5))
    prune.save(tmp_path / "thin.hdf5", thin)
    loaded = prune.load(tmp_path / "thin.hdf5", "any_inputs:Diffusion")
    given = torch.randn(2, *SIZE), torch.tensor([0, 9])
    assert torch.equal(loaded.model(*given)["noise"], thin.model.eval()(*given)["noise"])
    assert loaded.inputs == diffusion.inputs
    again = prune.prune(loaded, prune.plan(loaded, rate=0.5))
    assert again.counts["stem"] == (2, 4)


def test_taylor_by_a_loss_of_ones_own(several, diffusion):
    targets = torch.randn(4, 5, 16, 16)
    batches = [(torch.randn(4, *SIZE), targets)]
    scores = prune.rank(
        several, "taylor", images=batches, loss=lambda made, wanted: (made["mask"] - wanted).square().sum()
    )
    assert scores["stem"].shape == (8,)
    assert scores["body"].max() > 0
    calls = [(torch.randn(4, *SIZE), torch.arange(4))]
    own = prune.rank(
        diffusion, "taylor", images=calls, loss=lambda made, call: (made["noise"] - call[0]).square().sum()
    )
    assert own["stem"].max() > 0
    with pytest.raises(CriterionError, match="taylor needs a `loss`"):
        prune.rank(several, "taylor", images=[(torch.randn(4, *SIZE), torch.zeros(4))])
    with pytest.raises(CriterionError, match="`loss` has no effect with criterion 'hrank'"):
        prune.rank(several, "hrank", images=batches, loss=lambda made, wanted: made["mask"].sum())


def test_measured_by_a_metric_of_ones_own(several):
    images, targets = torch.randn(5, *SIZE), torch.zeros(5)
    batches = [(images[:4], targets[:4]), (images[4:], targets[4:])]
    mean = prune.evaluate(several, batches, metric=lambda made, wanted: made["mask"].mean())
    assert mean == pytest.approx(several.model(images)["mask"].mean().item(), rel=1e-5)
    with pytest.raises(DataError, match="no top-1: give `metric`"):
        prune.evaluate(several, batches)


@pytest.mark.parametrize("criterion", ["hrank", "obs", "obs-measured"])
def test_criteria_that_look_at_answers_of_any_kind(several, diffusion, criterion):
    images = [torch.randn(16, *SIZE)]
    assert prune.rank(several, criterion, images=images)["body"].shape == (12,)
    calls = [(torch.randn(16, *SIZE), torch.arange(16) % 10)] * 2
    scores = prune.rank(diffusion, criterion, images=calls)["stem"]
    assert scores.shape == (8,)
    assert criterion == "hrank" or len(scores.unique()) > 1  # noise has feature maps of full rank


def test_compensated_and_recalibrated(several, diffusion):
    torch.manual_seed(0)
    images = [torch.randn(64, *SIZE)]
    thin = prune.prune(several, prune.plan(several, rate=0.5))
    before = _error(several.model, thin.model, images[0])
    prune.compensate(several, thin, images)
    assert _error(several.model, thin.model, images[0]) < 0.9 * before
    assert prune.recalibrate(thin, images) == 1
    calls = [(torch.randn(64, *SIZE), torch.arange(64) % 10)]
    narrow = prune.prune(diffusion, prune.plan(diffusion, rate=0.5))
    start = (narrow.model(*calls[0])["noise"] - diffusion.model(*calls[0])["noise"]).square().mean()
    done = prune.compensate(diffusion, narrow, calls)
    assert "fitted_blocks" not in done.facts["compensation"]  # which takes images
    end = (narrow.model(*calls[0])["noise"] - diffusion.model(*calls[0])["noise"]).square().mean()
    assert end < 0.9 * start


def _error(full, narrow, images):
    return float((full(images)["mask"] - narrow(images)["mask"]).square().mean().detach())


def test_code_that_computes_in_float32_alone_is_proven_in_it(randomise):
    class Fixed(Several):
        def forward(self, x):
            mask = super().forward(x)["mask"]
            return nn.functional.conv2d(mask.to(torch.float32), torch.ones(1, 5, 1, 1))

    network = prune.wrap(randomise(Fixed()).eval(), SIZE)
    thin = prune.prune(network, prune.plan(network, rate=0.5))
    assert thin.counts["stem"] == (4, 8)
    assert thin.difference < 1e-4


def test_blocks_that_change_number_formats_are_followed(randomise):
    class Mixed(Several):
        def forward(self, x):
            hidden = self.stem(x).relu()
            with torch.autocast("cpu", enabled=False):
                hidden = self.norm(self.body(hidden.to(x.dtype))).relu()
            return self.mask(hidden)

    network = prune.wrap(randomise(Mixed()).eval(), SIZE)
    thin = prune.prune(network, prune.plan(network, rate=0.5))
    assert thin.counts == {"stem": (4, 8), "body": (6, 12), "mask": (5, 5)}
    prune.compensate(network, thin, [torch.randn(32, *SIZE)])


def test_code_that_draws_numbers_draws_the_same(randomise):
    class Noisy(Several):
        def forward(self, x):
            mask = super().forward(x)["mask"]
            return mask + torch.randn_like(mask)

    network = prune.wrap(randomise(Noisy()).eval(), SIZE)
    assert prune.prune(network, prune.plan(network, rate=0.5)).difference < 1e-12


def test_inputs_are_kept_in_a_file_as_they_are():
    inputs = Inputs.like(
        (torch.randn(2, 3), [torch.tensor([True, False]), None], {"a": (1, 2.5, "x")}), {"k": torch.arange(4)}
    )
    text = json.dumps(inputs.to_json())
    assert Inputs.from_json(json.loads(text), "f.hdf5") == inputs
    assert inputs.batch == 1, "two and four share no number of samples"
    with pytest.raises(FitError, match=r"2x3 float64 from 0 to 1; that is not taken from a file"):
        Inputs.from_json(
            {
                "args": [{"tensor": {"shape": [2, 3], "kind": "float64", "low": 0, "high": 1}}],
                "kwargs": {},
                "batch": 2,
            },
            "f.hdf5",
        )
    with pytest.raises(FitError, match="type slice, which no file can keep"):
        Inputs((slice(1),)).to_json()


def test_made_inputs_are_of_the_kind_and_range_of_the_example():
    inputs = Inputs.like((torch.tensor([3, 9]), torch.tensor([True, False]), torch.rand(2, 50)))
    numbers, flags, floats = inputs.make(torch.zeros((), dtype=torch.float16), seed=1).args
    assert numbers.dtype is torch.int64
    assert flags.dtype is torch.bool
    assert numbers.min() >= 3
    assert numbers.max() <= 9
    assert floats.dtype is torch.float16
    assert 0 <= floats.min() < floats.max() <= 1


def test_images_are_made_smaller_as_long_as_kernels_find_room():
    assert Inputs.of_images((3, 224, 224)).smaller().args == (TensorLike((2, 3, 56, 56)),)
    assert Inputs.of_images((3, 16, 224, 224)).smaller().args == (TensorLike((2, 3, 16, 56, 56)),)
    assert Inputs.of_images((3, 64, 200)).smaller().args == (TensorLike((2, 3, 64, 200)),)


class NestedPair(nn.Module):
    """Its two images come in a list, and in a dictionary."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, images, more):
        x = images[0] + images[1] + more["last"]
        return self.fc(self.conv(x).relu().mean((2, 3)))


def test_nested_inputs_are_traced_in_pairs():
    image = torch.randn(1, 3, 8, 8)
    net = prune.wrap(NestedPair(), inputs=([image, image], {"last": image}))
    assert net.inputs.batch == 2
    assert prune.prune(net, prune.plan(net, rate=0.5)).difference < 1e-12


def test_what_is_no_sample_is_not_paired():
    """A table of 5 rows beside one image: only first axes of one, all of them, are those of a sample."""

    class Tabled(NestedPair):
        def forward(self, image, table):
            return super().forward([image, image], {"last": image}) + table.mean()

    net = prune.wrap(Tabled(), inputs=(torch.randn(1, 3, 8, 8), torch.randn(5, 2)))
    assert [like.shape[0] for like in net.inputs.args] == [1, 5]
