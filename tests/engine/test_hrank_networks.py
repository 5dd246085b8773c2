"""Which feature map ranks which convolution, in the six networks that HRank prunes: against a naive loop."""

import pytest
import torch
import torch.nn.functional as F
from prune.archs import registry
from prune.engine import criteria
from prune.engine.graph.trace import trace
from soaked import often
from torch import nn

torch.set_num_threads(1)


class Maps:
    """What goes in and out of named modules during one pass."""

    def __init__(self, model, images_NCHW):
        self.into, self.out_of = {}, {}
        for name, module in model.named_modules():
            module.register_forward_hook(lambda _, args, out, name=name: self._keep(name, args[0], out))
        with torch.no_grad():
            model(images_NCHW)

    def _keep(self, name, into, out):
        self.into[name], self.out_of[name] = into.clone(), out.clone()


def basic_blocks(maps, blocks):
    """The stem, what the second unit of each block gets, and what the block hands on."""
    expected = {"stage1.conv1": F.relu(maps.out_of["stage1.conv1"])}
    for block in blocks:
        expected[f"{block}.conv1"] = maps.into[f"{block}.conv2"]
        expected[f"{block}.conv2"] = maps.out_of[block]
    return {f"{unit}.conv": value for unit, value in expected.items()}


def resnet_maps(maps, blocks_per_stage):
    return basic_blocks(maps, [f"stage{s}.block{b}" for s in (1, 2, 3) for b in range(blocks_per_stage)])


def bottleneck_maps(maps):
    expected = {"conv1": F.relu(maps.out_of["conv1"])}
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        expected[f"stage{stage}.projection"] = maps.out_of[f"stage{stage}.block0"]
        for block in (f"stage{stage}.block{number}" for number in range(blocks)):
            expected[f"{block}.conv1"] = maps.into[f"{block}.conv2"]
            expected[f"{block}.conv2"] = maps.into[f"{block}.conv3"]
            expected[f"{block}.conv3"] = maps.out_of[block]
    return {f"{unit}.conv": value for unit, value in expected.items()}


def vgg_maps(maps):
    return {f"stem.conv{i}.conv": maps.out_of[f"stem.relu{i}"] for i in range(1, 14)}


def dense_maps(maps):
    """Behind the next layer's BN and ReLU: all of a transition, the newest channels of a layer that grows."""
    expected = {"conv1": maps.into["dense1.layer0.conv"]}
    for number in (1, 2, 3):
        for layer in range(12):
            follower = f"dense{number}.layer{layer + 1}" if layer < 11 else f"transition{number}"
            value = maps.into[f"{follower}.conv"] if number < 3 or layer < 11 else F.relu(maps.out_of["bn"])
            expected[f"dense{number}.layer{layer}.conv"] = value[:, -12:]
        if number < 3:
            expected[f"transition{number}.conv"] = maps.into[f"dense{number + 1}.layer0.conv"]
    return expected


def inception_maps(maps):
    """The ReLU of every convolution's own branch."""
    relus = {name: value for name, value in maps.out_of.items() if ".relu" in name}
    return {"stem.conv": F.relu(maps.out_of["stem"])} | {
        f"{name.replace('relu', 'conv')}.conv": value for name, value in relus.items()
    }


NETWORKS = {
    "resnet56": (32, lambda maps: resnet_maps(maps, 9)),
    "resnet110": (32, lambda maps: resnet_maps(maps, 18)),
    "vgg16_bn": (32, vgg_maps),
    "densenet40": (32, dense_maps),
    "googlenet": (32, inception_maps),
    "resnet50": (64, bottleneck_maps),
}


@pytest.mark.parametrize(
    "name",
    often(NETWORKS, but=["resnet110"]),  # as resnet56
)
def test_every_convolution_is_ranked_by_its_own_map_in_one_pass(name):
    size, maps_of = NETWORKS[name]
    torch.manual_seed(0)
    model = registry.get(name).build(10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # biases that leave many pixels dark, so that ranks differ
            nn.init.uniform_(module.bias, -1.0, 0.2)
    images_NCHW = torch.randn(2, 3, size, size)
    traced = trace(model, (3, size, size))
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    scores = criteria.score("hrank", model, traced, batches=[(images_NCHW, torch.zeros(2))])
    assert len(passes) == 1
    expected = maps_of(Maps(model, images_NCHW))
    assert expected.keys() == scores.keys()
    for conv, maps_NFHW in expected.items():
        ranks_NF = torch.stack([torch.linalg.matrix_rank(maps_FHW) for maps_FHW in maps_NFHW])
        torch.testing.assert_close(scores[conv], ranks_NF.double().mean(0), rtol=0, atol=0, msg=conv)
    spread = torch.cat(list(scores.values()))
    assert len(spread.unique()) > 10
