"""Which class is which: by name where images and network both know names, whatever the order."""

from dataclasses import replace

import pytest
import torch
from prune.engine.data import DataInfo
from prune.engine.data.memory import MemoryData
from prune.engine.errors import DataError
from prune.engine.measure.evaluation import evaluate
from prune.engine.network.batches import batches_of
from prune.engine.network.matching import answering, matched
from prune.engine.network.network import Network
from torch import nn

NAMES = ("cat", "dog", "fish")


class Bright(nn.Module):
    """Tells apart images whose only bright channel is the class's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return self.scale * images_NCHW.mean((2, 3))


@pytest.fixture
def data() -> MemoryData:
    labels_N = torch.tensor([0, 1, 2, 2])
    pixels_NCHW = 255 * torch.eye(3, dtype=torch.uint8)[labels_N][:, :, None, None].repeat(1, 1, 4, 4)
    info = DataInfo("imagefolder", 3, NAMES, (3, 4, 4), mean=(0.5,) * 3, std=(0.5,) * 3)
    both = {"train": pixels_NCHW, "test": pixels_NCHW}
    labels = {"train": labels_N, "test": labels_N}
    return MemoryData(info, both, labels, crop_padding=0, flip=False)


@pytest.fixture
def network() -> Network:
    return Network(Bright(), "", 3, (3, 4, 4), class_names=NAMES, origin="net.hdf5")


def named(network: Network, *names: str) -> Network:
    return replace(network, class_names=names)


def test_the_same_names_in_another_order_are_renumbered(data, network):
    other = named(network, "fish", "cat", "dog")
    seen = matched(other, data)
    assert seen.info.class_names == ("fish", "cat", "dog")
    assert next(seen.batches("test", 4))[1].tolist() == [1, 2, 0, 0]
    assert next(batches_of(data, other))[1].sort().values.tolist() == [0, 0, 1, 2]
    assert seen.renumbered
    assert not data.renumbered
    assert next(data.batches("test", 4))[1].tolist() == [0, 1, 2, 2], "the source stays"
    back = matched(network, seen)
    assert next(back.batches("test", 4))[1].tolist() == [0, 1, 2, 2]
    assert not back.renumbered


def test_a_network_with_permuted_logits_is_as_good_as_it_was(data, network):
    order = torch.tensor([2, 0, 1])
    model = nn.Sequential(Bright(), nn.Linear(3, 3, bias=False))
    model[1].weight = nn.Parameter(torch.eye(3)[order])  # logit k is channel order[k]
    permuted = replace(network, model=model, class_names=tuple(NAMES[k] for k in order))
    assert evaluate(network.model, matched(network, data)).top1 == 100
    assert evaluate(permuted.model, matched(permuted, data)).top1 == 100
    assert evaluate(permuted.model, data).top1 == 0


def test_other_names_are_an_error_that_lists_them(data, network):
    other = named(network, "cat", "dog", "zzz")
    with pytest.raises(DataError) as caught:
        matched(other, data)
    message = str(caught.value)
    assert "only the images have 'fish'; only the network has 'zzz'" in message
    assert "`classes_by_position`" in message
    insisted = matched(other, data, by_position=True)
    assert insisted.info.class_names == ("cat", "dog", "zzz")
    assert next(insisted.batches("test", 4))[1].tolist() == [0, 1, 2, 2]
    assert matched(other, insisted) is insisted, "insisting once is enough"


def test_names_that_occur_twice_cannot_be_told_apart(data, network):
    with pytest.raises(DataError, match="'cat' is the name of two"):
        matched(named(network, "cat", "dog", "cat"), data)


def test_a_network_without_names_is_taken_by_position(data, network):
    assert matched(named(network), data) is data
    assert matched(network, data) is data


def test_a_teacher_answers_in_the_order_of_its_pupil(data, network):
    seen = matched(named(network, "fish", "cat", "dog"), data)
    teacher = answering(network, seen)
    assert evaluate(teacher.model, seen).top1 == 100
    assert answering(network, data) is network


def test_fresh_weights_know_no_classes():
    """A pruned network that is trained from scratch may be for other images."""
    from prune.engine.network.fresh import fresh_like, new_network

    trained = replace(new_network("resnet20", num_classes=3), class_names=("x", "y", "z"))
    assert fresh_like(trained, 0).class_names == ()
