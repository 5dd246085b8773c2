"""Compactors and BN folded into narrow networks: the authors' numbers, many networks, every refusal."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from prune.archs.units import Compactor
from prune.cli.main import app
from prune.engine.compactors import folding
from prune.engine.compactors.folding import fold
from prune.engine.compactors.sites import insert, targets
from prune.engine.errors import EngineError, ProofError
from prune.engine.graph.trace import trace
from prune.engine.modules.guests import COMPACTORS
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.weights.store import read
from recorded import arrays
from soaked import often
from torch import nn
from typer.testing import CliRunner

CASES = {"src20_narrow": 4.8e-6, "src56": 9.6e-5, "vc_narrow": 7.2e-5, "sres50_narrow": 2.4e-4}
RESNET8 = "small_networks:resnet8"
MOBILENET = "small_networks:mobilenet_v1"


def worn(name, size, randomise, wear, residual="internal"):
    """A network after some training: all rows moved, 40 % of the channels dead."""
    network = new_network(name, num_classes=10, input_size=size)
    model = randomise(network.model)
    sites = insert(model, targets(model, trace(model, size), residual=residual))
    assert wear(sites) > 0
    return network, sites


def convert(file, *words, own=None):
    """Run the command; a network of our own is named, which no file may import by itself."""
    return CliRunner().invoke(app, ["convert", str(file), *words, *(["--arch", own] if own else [])])


def logits(model, size):
    images_NCHW = torch.randn(3, *size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.double()(images_NCHW.double())


def assert_same(found_NK, expected_NK):
    torch.testing.assert_close(found_NK, expected_NK, rtol=0, atol=1e-5 * float(expected_NK.abs().max()))


class TestTheAuthors:
    @pytest.mark.parametrize(
        "case",
        often(CASES, but=["src56"]),  # as ResNet-20, with more blocks
    )
    def test_conversion(self, case, shared_golden, tmp_path):
        folder = shared_golden / "authors"
        path = tmp_path / "deploy.hdf5"
        source = str(folder / f"resrep_{case}_train.hdf5")
        result = convert(source, str(path), "--json", "--quiet")
        assert result.exit_code == 0, result.output
        ours, theirs = read(path), read(folder / f"resrep_{case}_converted.hdf5")
        assert ours.tensors.keys() == theirs.tensors.keys()
        for name, expected in theirs.tensors.items():
            largest = np.abs(expected).max()
            np.testing.assert_allclose(
                ours.tensors[name], expected, rtol=0, atol=1e-6 * largest, err_msg=name
            )
        assert theirs.deps is not None
        np.testing.assert_array_equal(ours.deps, theirs.deps)

        recorded = arrays(folder / f"resrep_{case}_io.npz")
        with torch.no_grad():
            found = load_network(path).model(torch.from_numpy(recorded["input"]).float()).numpy()
        assert np.abs(found - recorded["logits_train_form"]).max() < 3 * CASES[case]
        facts = json.loads(result.stdout)["folded"]
        assert facts["error"] < 1e-5
        assert facts["params"][1] == sum(array.size for array in theirs.tensors.values())

    def test_masks_and_norms_disagree(self, shared_golden):
        network = load_network(shared_golden / "authors" / "resrep_src20_narrow_train.hdf5")
        notes = fold(network.model, network.input_size).notes
        assert "stage2.block1.conv1.conv: all rows are shorter than 1e-05; the longest stays" in notes
        assert (
            "stage1.block0.conv1: masks and row norms disagree, and norms decide: 1 masked rows "
            "are not short, 1 short rows are not masked"
        ) in notes


class TestLossless:
    @pytest.mark.parametrize(
        ("name", "size", "residual"),
        [
            (MOBILENET, (3, 32, 32), "internal"),
            (RESNET8, (3, 32, 32), "coupled"),
            ("small_networks:resnet_basic", (3, 32, 32), "coupled"),
            ("small_networks:mobilenet_v2", (3, 32, 32), "coupled"),
            # As the authors' of `test_conversion`.
            pytest.param("small_networks:bottleneck", (3, 32, 32), "internal", marks=pytest.mark.soak),
            # As those above, with more blocks.
            pytest.param("mobilenet_v1", (3, 64, 64), "internal", marks=pytest.mark.soak),
            pytest.param("resnet20", (3, 32, 32), "coupled", marks=pytest.mark.soak),
            pytest.param("resnet50", (3, 32, 32), "internal", marks=pytest.mark.soak),
            pytest.param("torchvision:resnet18", (3, 64, 64), "coupled", marks=pytest.mark.soak),
            pytest.param("torchvision:mobilenet_v2", (3, 64, 64), "coupled", marks=pytest.mark.soak),
        ],
    )
    def test_from_training_form_to_a_file_and_back(self, name, size, residual, randomise, wear, tmp_path):
        network, sites = worn(name, size, randomise, wear, residual)
        save_network(tmp_path / "training.hdf5", network)
        own = name if name.startswith("small_networks:") else None
        result = convert(tmp_path / "training.hdf5", own=own)
        assert result.exit_code == 0, result.output
        deployed = load_network(tmp_path / "training-deploy.hdf5", own)
        assert not any(
            ".bn" in key or "compactor" in key for key in read(tmp_path / "training-deploy.hdf5").tensors
        )
        expected = logits(network.model, size)
        assert_same(logits(deployed.model, size), expected)
        for site in sites:
            dead = int((site.compactor.mask == 0).sum())
            for producer in site.producers:
                assert len(deployed.model.get_submodule(producer).weight) == len(site.row_ids) - dead

    def test_without_the_constants_mobilenet_would_be_another(self, randomise, wear, monkeypatch):
        network, _ = worn(MOBILENET, (3, 32, 32), randomise, wear)
        monkeypatch.setattr(folding, "absorb_into_biases", lambda *_: None)
        with pytest.raises(ProofError, match="nothing was written"):
            fold(network.model, (3, 32, 32))

    def test_tied_rows_leave_by_their_joint_norm(self):
        model = TiedAndFlattened().eval()
        (a, _) = insert(model, targets(model, trace(model, (3, 8, 8))))
        assert a.name == "a"
        with torch.no_grad():
            a.compactor.pwc.weight[0] = 0  # its partner, row 4, is alive
            a.compactor.pwc.weight[[1, 5]] = 0
        folded = fold(model, (3, 8, 8))
        assert folded.widths == {"a": (8, 6)}
        assert_same(logits(folded.model, (3, 8, 8)), logits(model, (3, 8, 8)))

    def test_rows_that_are_short_alone_but_not_together_stay(self):
        model = TiedAndFlattened().eval()
        (a, _) = insert(model, targets(model, trace(model, (3, 8, 8))))
        rows_DD11 = a.compactor.pwc.weight.detach()
        rows_DD11[[0, 4]] *= (
            0.8 * folding.THRESHOLD / rows_DD11[[0, 4]].flatten(1).norm(dim=1).view(2, 1, 1, 1)
        )
        rows_DD11[[1, 5]] = 0
        assert fold(model, (3, 8, 8)).widths == {"a": (8, 6)}

    def test_the_columns_of_a_linear_layer_behind_a_map(self, wear):
        model = TiedAndFlattened().eval()
        sites = insert(model, targets(model, trace(model, (3, 8, 8))))
        wear(sites)
        folded = fold(model, (3, 8, 8))
        assert folded.widths["last"] == (6, 4)
        assert folded.model.fc.in_features == 4 * 64
        assert not any("masks" in note for note in folded.notes)  # they say what the norms say
        assert_same(logits(folded.model, (3, 8, 8)), logits(model, (3, 8, 8)))

    def test_dropping_what_is_not_zero_costs(self, tmp_path, randomise, wear):
        network, sites = worn(RESNET8, (3, 32, 32), randomise, wear)
        follower = network.model.stage3.block0.conv2
        with torch.no_grad():
            sites[-1].compactor.pwc.weight[0] = 0
            sites[-1].compactor.pwc.weight[0, 0] = 9e-6
            follower.conv.weight[:, 0] = 1e4
        folded = fold(network.model, (3, 32, 32))
        assert folded.error < 1e-5 < 1e-3 < folded.cost
        save_network(tmp_path / "a.hdf5", network)
        result = convert(tmp_path / "a.hdf5", "--quiet", own=RESNET8)
        assert "warning: dropping rows that are not quite zero costs" in result.stderr


class TiedAndFlattened(nn.Module):
    """A grouped convolution ties rows of the first; the map of the last is flattened with all its pixels."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.last, self.fc = nn.Conv2d(8, 6, 1), nn.Linear(6 * 64, 5)

    def forward(self, x):
        return self.fc(F.relu(self.last(F.relu(self.b(F.relu(self.a(x)))))).flatten(1))


class ReusedNorm(nn.Module):
    """One convolution is followed by BN only the second time; another one's BN has an eps of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.b, self.bn2 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, eps=0.1)
        self.fc, self.bn3 = nn.Linear(8, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        x = self.bn(self.a(F.relu(self.a(x))))
        return self.bn3(self.fc(F.relu(self.bn2(self.b(x))).mean((2, 3))))


class TestBN:
    def test_pairs_come_from_the_graph(self, randomise):
        model = randomise(ReusedNorm())
        folded = fold(model, (3, 8, 8))
        assert folded.folded == {"bn2": "b", "bn3": "fc"}
        assert isinstance(folded.model.bn, nn.BatchNorm2d)
        assert_same(logits(folded.model, (3, 8, 8)), logits(model, (3, 8, 8)))

    @pytest.mark.parametrize(
        ("name", "norm", "conv"),
        [
            ("resnet18", "bn1", "conv1"),
            pytest.param("mnasnet0_5", "layers.1", "layers.0", marks=pytest.mark.soak),  # twice as deep
        ],
    )
    def test_any_file(self, name, norm, conv, tmp_path, randomise):
        network = new_network(f"torchvision:{name}", num_classes=10, input_size=(3, 64, 64))
        randomise(network.model)
        save_network(tmp_path / "a.hdf5", network)
        result = convert(tmp_path / "a.hdf5", str(tmp_path / "b.hdf5"), "--fold-bn")
        assert result.exit_code == 0, result.output
        deployed = load_network(tmp_path / "b.hdf5")
        assert deployed.folded[norm] == conv
        assert not any(key.endswith("running_mean") for key in read(tmp_path / "b.hdf5").tensors)
        assert_same(logits(deployed.model, (3, 64, 64)), logits(network.model, (3, 64, 64)))


class TestRefusals:
    def test_nothing_to_fold(self, tmp_path, randomise):
        network = new_network(RESNET8, num_classes=10, input_size=(3, 32, 32))
        folded = fold(randomise(network.model), network.input_size)
        save_network(tmp_path / "a.hdf5", Network(folded.model, RESNET8, 10, (3, 32, 32)))
        result = convert(tmp_path / "a.hdf5", "--to", "deploy", own=RESNET8)
        assert result.exit_code != 0
        assert isinstance(result.exception, EngineError)
        assert "neither compactors nor a BN" in str(result.exception)
        assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]

    def test_a_format_and_another_suffix(self, tmp_path):
        save_network(tmp_path / "a.hdf5", new_network("resnet20"))
        result = convert(tmp_path / "a.hdf5", "b.pth", "--to", "hdf5")
        assert "`to` hdf5 writes .hdf5, not 'b.pth'" in str(result.exception)

    def test_all_rows_dead(self, randomise, wear):
        network, sites = worn(RESNET8, (3, 32, 32), randomise, wear)
        with torch.no_grad():
            sites[0].compactor.pwc.weight.zero_()
        folded = fold(network.model, (3, 32, 32))
        assert folded.widths["stage1.block0.conv1.conv"] == (16, 1)
        assert "stage1.block0.conv1.conv: all rows are shorter than 1e-05; the longest stays" in folded.notes

    def test_not_a_number(self, tmp_path, randomise, wear):
        network, sites = worn(RESNET8, (3, 32, 32), randomise, wear)
        with torch.no_grad():
            sites[0].compactor.pwc.weight[0] = float("nan")
        save_network(tmp_path / "a.hdf5", network)
        result = convert(tmp_path / "a.hdf5", own=RESNET8)
        assert isinstance(result.exception, ProofError)
        assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]

    def test_a_compactor_where_none_can_be_folded(self):
        model = TiedAndFlattened().eval()
        COMPACTORS.place(model, "b", Compactor(8))
        with pytest.raises(EngineError, match="the compactor of b does not stand behind a plain convolution"):
            fold(model, (3, 8, 8))
