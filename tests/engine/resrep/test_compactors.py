"""Where compactors can go, what they leave as it is, and how files keep them."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from prune.archs import registry
from prune.archs.units import Compactor
from prune.engine.compactors.sites import insert, refused, targets
from prune.engine.errors import AllocationError, EngineError
from prune.engine.graph.trace import trace
from prune.engine.modules.guests import COMPACTORS
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.training.optimizer import build_sgd
from recorded import arrays
from torch import nn

SIZE = (3, 32, 32)
RESNET8, RESNET_BASIC = "small_networks:resnet8", "small_networks:resnet_basic"
# With units that hold a BN, and with BNs beside; and such with more blocks.
PLACED = [
    *(RESNET8, RESNET_BASIC),
    *(pytest.param(name, marks=pytest.mark.soak) for name in ("resnet20", "torchvision:resnet18")),
]


def network_with_sites(name, residual="internal", size=SIZE):
    network = new_network(name, num_classes=10, input_size=size)
    model = network.model.eval()
    return network, insert(model, targets(model, trace(model, size), residual=residual))


def images(size=SIZE):
    return torch.randn(2, *size, generator=torch.Generator().manual_seed(3))


class TestWhere:
    def test_internal_layers_of_a_residual_network(self):
        _, sites = network_with_sites(RESNET8)
        blocks = [f"stage{s}.block0.conv1" for s in (1, 2, 3)]
        assert [site.unit for site in sites] == blocks
        assert [site.producers for site in sites] == [(f"{unit}.conv",) for unit in blocks]
        assert all(site.group.free.all() for site in sites)

    def test_a_stream_has_one_compactor(self):
        network, sites = network_with_sites(RESNET_BASIC, "coupled")
        stem = sites[0]
        assert stem.units == ("bn1", "layer1.0.bn2", "layer1.1.bn2")
        assert all(network.model.get_submodule(unit).compactor is stem.compactor for unit in stem.units)
        assert len({id(site.compactor) for site in sites}) == len(sites) == 9

    def test_behind_a_padding_shortcut_only_the_padded_channels_may_die(self):
        _, sites = network_with_sites(RESNET8, "coupled")
        second = next(site for site in sites if site.unit == "stage2.block0.conv2")
        free = second.group.free
        assert free.tolist() == [True] * 8 + [False] * 16 + [True] * 8
        reason = second.group.pinned[int(second.group.channels[8])]
        assert reason == "stage2.block0.shortcut copies a channel of another stream into it"

    def test_behind_a_depthwise_convolution(self):
        _, sites = network_with_sites("mobilenet_v1", size=(3, 64, 64))
        assert len(sites) == 14
        assert all(site.group.free.all() for site in sites)

    def test_skip(self):
        model = registry.get("resnet20").build(10)
        found = targets(model, trace(model, SIZE), skip=["stage1.*"])
        assert [target.name.partition(".")[0] for target in found] == ["stage2"] * 3 + ["stage3"] * 3
        with pytest.raises(AllocationError, match="stage9"):
            targets(model, trace(model, SIZE), skip=["stage9.*"])

    def test_rows_that_a_grouped_convolution_ties_are_one_channel(self):
        model = Grouped().eval()
        (site,) = insert(model, targets(model, trace(model, SIZE)))
        assert site.name == "a"
        assert (site.row_ids[:4] == site.row_ids[4:]).all()
        assert len(np.unique(site.row_ids)) == len(site.group.channels) == 4


class Grouped(nn.Module):
    """A convolution, and a grouped one that reads it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))


class Gated(nn.Module):
    """A gate on what a depthwise convolution has made a constant, as in MobileNetV3."""

    def __init__(self, gated=True):
        super().__init__()
        self.gated = gated
        self.a, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.last, self.fc = nn.Conv2d(8, 6, 1), nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.a(x))
        if self.gated:
            x = F.relu(self.depthwise(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.fc(F.relu(self.last(x * gate)).mean((2, 3)))


class Edged(nn.Module):
    """A padded convolution on what a depthwise one has made a constant."""

    def __init__(self, padding):
        super().__init__()
        self.a, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8)
        self.last, self.fc = nn.Conv2d(8, 6, 3, padding=padding), nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(F.relu(self.last(F.relu(self.depthwise(F.relu(self.a(x)))))).mean((2, 3)))


class PreActivated(nn.Module):
    """BN before a padded convolution, behind a convolution that something else reads too."""

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.b, self.c = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.a(x)
        return self.fc(F.relu(self.b(F.relu(self.bn(x))) + self.c(x)).mean((2, 3)))


class TestRefused:
    @pytest.mark.parametrize(
        ("model", "layer", "reason"),
        [
            (Grouped(), "b", "b is a grouped convolution, and a compactor would mix its groups"),
            (Gated(), "a", "a dead channel is neither zero nor a constant where last reads it"),
            (Edged(1), "a", "a dead channel is no zero but a constant where last pads it"),
            (PreActivated(), "a", "a dead channel is no zero but a constant where b pads it"),
        ],
        ids=["grouped", "gate", "padding", "pre-activation"],
    )
    def test_says_why(self, model, layer, reason):
        traced = trace(model, SIZE)
        assert refused(model, traced)[layer] == reason
        assert layer not in {target.name for target in targets(model, traced, residual="coupled")}

    @pytest.mark.parametrize("model", [Gated(gated=False), Edged(0)], ids=["zero under a gate", "unpadded"])
    def test_nothing_where_a_constant_exists(self, model):
        assert "a" not in refused(model, trace(model, SIZE))


class TestPlacing:
    @pytest.mark.parametrize("name", PLACED)
    def test_identity_changes_nothing_and_survives_everything(self, name):
        network = new_network(name, num_classes=10, input_size=SIZE)
        model = network.model.eval()
        expected = model(images())
        sites = insert(model, targets(model, trace(model, SIZE)))
        torch.testing.assert_close(model(images()), expected)

        with torch.no_grad():
            sites[0].compactor.pwc.weight.mul_(2)
        changed = model(images())
        assert not torch.allclose(changed, expected)
        twin = copy.deepcopy(model)
        torch.testing.assert_close(twin(images()), changed)
        torch.testing.assert_close(COMPACTORS.take_away(twin)(images()), expected)
        names = {layer.name for layer in trace(model, SIZE).map.layers}
        assert {f"{site.unit}.compactor.pwc" for site in sites} <= names

    def test_keys_are_resreps(self):
        network, _ = network_with_sites("src20")
        keys = {key for key in network.model.state_dict() if "compactor" in key}
        assert "stage1.block0.conv1.compactor.pwc.weight" in keys
        assert "stage1.block0.conv1.compactor.mask" in keys
        assert len(keys) == 18

    def test_what_is_there_stays(self):
        network, sites = network_with_sites(RESNET8)
        plain = COMPACTORS.take_away(copy.deepcopy(network.model))
        again = insert(network.model, targets(plain, trace(plain, SIZE)))
        assert [site.compactor for site in again] == [site.compactor for site in sites]

    def test_a_stream_of_several_compactors_is_refused(self):
        network, _ = network_with_sites(RESNET8, "coupled")
        network.model.stage1.conv1.compactor = Compactor(16)
        plain = COMPACTORS.take_away(copy.deepcopy(network.model))
        with pytest.raises(EngineError, match=r"stage1\.conv1.* are not one and the same"):
            insert(network.model, targets(plain, trace(plain, SIZE), residual="coupled"))

    def test_the_optimizer_knows_them(self):
        network, sites = network_with_sites(RESNET_BASIC, "coupled")
        optimizer = build_sgd(network.model, rule="resrep", momentum=0.9, weight_decay=1e-4)
        ours = {id(site.compactor.pwc.weight) for site in sites}
        (group,) = [g for g in optimizer.param_groups if g["momentum"] == 0.99]
        assert {id(p) for p in group["params"]} == ours
        assert group["weight_decay"] == 0


class TestFiles:
    @pytest.mark.parametrize("name", PLACED)
    def test_round_trip_of_shared_compactors(self, name, tmp_path, randomise, wear):
        network, sites = network_with_sites(name, "coupled")
        randomise(network.model)
        wear(sites)
        save_network(tmp_path / "training.hdf5", network)
        own = name if name.startswith("small_networks:") else None  # which no file may import by itself
        loaded = load_network(tmp_path / "training.hdf5", own)
        torch.testing.assert_close(loaded.model(images()), network.model(images()))
        found = COMPACTORS.placed(loaded.model)
        for site in sites:
            assert len({id(found[unit]) for unit in site.units}) == 1
            assert torch.equal(found[site.unit].mask, site.compactor.mask)

    @pytest.mark.parametrize("case", ["src20_narrow", "src56", "vc_narrow", "sres50_narrow"])
    def test_the_authors_training_form(self, case, shared_golden):
        network = load_network(shared_golden / "authors" / f"resrep_{case}_train.hdf5")
        recorded = arrays(shared_golden / "authors" / f"resrep_{case}_io.npz")
        images_NCHW = torch.from_numpy(recorded["input"])
        with torch.no_grad():
            found = network.model(images_NCHW.float()).numpy()
            found_f64 = network.model.double()(images_NCHW.double()).numpy()
        np.testing.assert_allclose(found, recorded["logits_train_form"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found_f64, recorded["logits_train_form_f64"], rtol=0, atol=1e-10)
