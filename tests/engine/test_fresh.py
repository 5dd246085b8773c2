"""Fresh weights for narrow networks: the arch's own distributions, at the narrow layer's scale."""

from pathlib import Path

import pytest
import torch
from prune.engine.allocations import required
from prune.engine.compactors.folding import fold
from prune.engine.errors import EngineError
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import fresh_like, new_network
from prune.engine.network.network import Network
from prune.engine.selection.selection import equal_scores
from torch import nn


def narrow(arch: str, path: Path, **settings) -> Network:
    """A pruned network out of a file; everything in it was moved."""
    network = new_network(arch)
    for tensor in network.model.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1.5).add_(0.01)
    scores = equal_scores(trace(network.model, network.input_size).map)
    save_network(path, prune_network(network, required(settings), scores).network)
    return load_network(path)


@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
def test_shapes_stay_and_values_go(tmp_path: Path, residual: str):
    thin = narrow("resnet20", tmp_path / "narrow.hdf5", rate=0.5, residual=residual)
    before = {name: tensor.clone() for name, tensor in thin.model.state_dict().items()}
    fresh = fresh_like(thin, seed=1)
    after = fresh.model.state_dict()
    assert list(after) == list(before)
    for name, tensor in after.items():
        assert tensor.shape == before[name].shape
        if name.endswith(".index"):
            assert torch.equal(tensor, before[name])
        elif "num_batches" not in name:
            assert not torch.equal(tensor, before[name]), name
    norms = [module for module in fresh.model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        assert (norm.weight == 1).all()
        assert (norm.running_var == 1).all()
        assert not norm.bias.any()
        assert not norm.running_mean.any()
    assert (fresh.accuracy, fresh.history, fresh.sha256) == (None, (), None)


def test_the_scale_is_that_of_the_narrow_layer(tmp_path: Path):
    thin = fresh_like(narrow("vgg16", tmp_path / "narrow.hdf5", rate=0.75), seed=0)
    full = new_network("vgg16", seed=0)
    wide_weights = dict(full.model.named_parameters())
    compared = 0
    for name, weight in thin.model.named_parameters():
        wide = wide_weights[name]
        if weight.dim() == 4 and weight.shape[1] * 4 == wide.shape[1] and weight.numel() > 10_000:
            ratio = (weight.std() / wide.std()).item()
            assert ratio == pytest.approx(2, rel=0.05), name  # both ways of counting grow by sqrt(4)
            compared += 1
    assert compared >= 8


def test_the_same_seed_draws_the_same_weights_whatever_came_before(tmp_path: Path):
    narrow("resnet20", tmp_path / "narrow.hdf5", rate=0.5)
    states = []
    for seed in (3, 3, 4):
        torch.randn(5)
        states.append(fresh_like(load_network(tmp_path / "narrow.hdf5"), seed).model.state_dict())
    name = "stage1.block0.conv1.conv.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])
    untouched = torch.nn.init.kaiming_normal_
    assert untouched.__module__ == "torch.nn.init"


def test_at_full_width_it_draws_from_the_archs_own_distributions(tmp_path: Path):
    save_network(tmp_path / "full.hdf5", new_network("resnet20", seed=8))
    fresh = fresh_like(load_network(tmp_path / "full.hdf5"), seed=0)
    for (name, drawn), (_, built) in zip(
        fresh.model.named_parameters(), new_network("resnet20", seed=0).model.named_parameters(), strict=True
    ):
        if drawn.numel() > 2000:
            assert drawn.std().item() == pytest.approx(built.std().item(), rel=0.1), name


def test_a_network_without_its_bn_is_refused(tmp_path: Path):
    network = new_network("resnet20")
    folded = fold(network.model, network.input_size)
    thin = Network(folded.model, "resnet20", 10, (3, 32, 32), folded=folded.folded, origin="deploy.hdf5")
    with pytest.raises(
        EngineError, match=r"'deploy\.hdf5' has a 'stage1\.conv1\.conv\.bias' that resnet20 does"
    ):
        fresh_like(thin, seed=0)
