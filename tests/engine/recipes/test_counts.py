"""The papers' counts, each against a count by hand on a network small enough for one."""

from decimal import Decimal

import numpy as np
import pytest
import torch.nn.functional as F
from prune.engine.allocations.layer_rates import LayerRates
from prune.engine.graph.trace import trace
from prune.engine.network.fresh import new_network
from prune.engine.recipes.counts import COUNTS, Count, Narrowed, full
from prune.engine.recipes.printed import prints_amount
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.selection import equal_scores
from torch import Tensor, nn


class Small(nn.Module):
    """Two convolutions, the first with a bias, each with BN; an average pool; a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 4, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.bn2(self.conv2(x))), 1).flatten(1))


@pytest.fixture(scope="module")
def halved() -> Narrowed:
    """On 6x6 images, with half of the first convolution's filters gone."""
    traced = trace(Small(), (3, 6, 6))
    allocation = LayerRates(layer_rates=("conv1=0.5",))
    selection = allocation.select(Prunable(map=traced.map), equal_scores(traced.map))
    return Narrowed(traced, selection, Decimal("0.5"))


PIXELS, FC = 36, 4 * 5
CONV1, CONV2 = 3 * 9, 8  # weights of one filter, before anything is gone


def test_plain_counts_both_sides(halved):
    macs = (4 * CONV1 + 4 * 4) * PIXELS + FC
    assert COUNTS["plain"](halved) == Count(macs, 4 * CONV1 + 4 + 4 * 4 + FC + 5)


def test_hrank_keeps_inputs_and_counts_biases_of_linear_layers_only(halved):
    flops = (4 * CONV1 + 4 * CONV2) * PIXELS + FC + 5
    assert COUNTS["hrank"](halved) == Count(flops, 4 * CONV1 + 4 + 4 * CONV2 + FC + 5)


def test_fpgm_counts_real_widths_and_no_linear_layer(halved):
    thirds = Narrowed(halved.traced, halved.selection, Decimal("0.3"))
    flops = (Decimal("2.4") * CONV1 + 4 * Decimal("2.4")) * PIXELS
    assert COUNTS["fpgm"](thirds) == Count(int(flops), None)
    assert flops != int(flops)
    assert COUNTS["fpgm"](full(halved.traced)) == Count((8 * CONV1 + 4 * CONV2) * PIXELS, None)


def test_resrep_counts_as_plain_without_projections(halved):
    assert COUNTS["resrep-cifar"](halved).flops == COUNTS["plain"](halved).flops
    assert COUNTS["resrep"](halved).flops == COUNTS["plain"](halved).flops  # single precision holds it


@pytest.mark.parametrize(
    ("way", "per_norm", "per_product", "per_pooled"),
    [("thop-2019", 4, 2, 6 + 1), ("thop-2020", 2, 1, 36 + 1), ("thop-2020-avgpool", 2, 1, 1)],
)
def test_thop_counts_norms_biases_and_pools(halved, way, per_norm, per_product, per_pooled):
    convs = (4 * CONV1 + 4 * 4) * PIXELS + 4 * PIXELS
    norms = per_norm * (4 + 4) * PIXELS
    params = 4 * CONV1 + 4 + 4 * 4 + FC + 5 + 2 * (4 + 4)
    assert COUNTS[way](halved) == Count(convs + norms + per_product * FC + 4 * per_pooled, params)


@pytest.mark.parametrize("way", COUNTS)
def test_nothing_gone_is_the_full_network(halved, way):
    whole = COUNTS[way](full(halved.traced))
    assert whole.flops > COUNTS[way](halved).flops


def test_authors_formulas_are_off_in_known_places():
    network = new_network("resnet18")
    traced = trace(network.model, network.input_size)
    exact, theirs = COUNTS["fpgm"](full(traced)).flops, COUNTS["fpgm-basic"](full(traced)).flops
    macs = {layer.name: int(np.prod(layer.shape)) * layer.positions for layer in traced.map.layers}
    projections = sum(n for name, n in macs.items() if ".projection." in name)
    assert theirs == exact - projections + macs["stage3.block0.conv1.conv"]


def test_mobilenet_v2_counts_as_hrankplus_prints_it():
    network = new_network("mobilenet_v2")
    whole = COUNTS["thop-2020"](full(trace(network.model, network.input_size)))
    assert prints_amount(whole.flops, "314.13M")
    assert whole.params is not None
    assert prints_amount(whole.params, "3.50M")
