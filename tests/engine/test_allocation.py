import numpy as np
import pytest
import torch
from prune.engine.allocations import allocation_of
from prune.engine.errors import AllocationError
from prune.engine.graph.channels import Group
from prune.engine.graph.trace import trace
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.selection import (
    by_group_rates,
    channel_scores,
    combine_scores,
    prunable_groups,
    removal_order,
)
from torch import nn

torch.set_num_threads(1)


class Residual(nn.Module):
    """A stream of 10 channels; inside, a grouped conv ties its 8 inputs and 12 outputs in pairs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1)
        self.conv1 = nn.Conv2d(10, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.conv2 = nn.Conv2d(12, 10, 3, padding=1)
        self.linear = nn.Linear(10, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.grouped(self.conv1(x).relu()).relu()
        x = (x + self.conv2(y)).relu()
        return self.linear(x.mean((2, 3)))


CONVS = ("stem", "conv1", "grouped", "conv2")


@pytest.fixture(scope="module")
def network():
    return trace(Residual().eval(), (3, 8, 8)).map


@pytest.fixture
def scores(network):
    generator = np.random.default_rng(0)
    return {name: generator.random(len(network.layer(name).out_ids)) for name in CONVS}


def selected(network, scores, **settings):
    return allocation_of(settings).select(Prunable(map=network), scores)


def make_group(n, pinned=(), parts=()):
    return Group("g", np.arange(n), ("g",), False, dict.fromkeys(pinned, "a reason"), parts)


def test_internal_leaves_streams_alone_and_coupled_takes_them(network):
    assert [group.name for group in prunable_groups(network)] == ["conv1", "grouped"]
    assert [group.name for group in prunable_groups(network, "coupled")] == ["stem", "conv1", "grouped"]
    with pytest.raises(AllocationError, match="no residual mode 'both'"):
        prunable_groups(network, "both")


def test_skip_matches_groups_and_convolutions(network):
    assert [group.name for group in prunable_groups(network, "coupled", ["conv2"])] == ["conv1", "grouped"]
    assert [group.name for group in prunable_groups(network, "coupled", ["conv*"])] == ["grouped"]
    with pytest.raises(AllocationError, match=r"`skip` 'covn2' matches no layer; did you mean 'conv2'\?"):
        prunable_groups(network, skip=["covn2"])


def test_one_producer_keeps_its_scores_as_they_are():
    network = trace(nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.Conv2d(5, 2, 1)).eval(), (3, 4, 4)).map
    (group,) = prunable_groups(network)
    raw = {"0": np.array([0.3, 0.1, 0.7, 1e-300, 5.0])}
    assert channel_scores(network, group, raw).tolist() == raw["0"].tolist()


def test_a_streams_score_is_the_mean_of_score_over_layer_mean(network, scores):
    group = prunable_groups(network, "coupled")[0]
    expected = []
    for channel in group.channels:
        parts = []
        for name in group.producers:
            normalised = scores[name] / scores[name].mean()
            parts += [s for s, i in zip(normalised, network.layer(name).out_ids, strict=True) if i == channel]
        expected.append(np.mean(parts))
    assert channel_scores(network, group, scores) == pytest.approx(np.array(expected))


def test_filters_tied_by_groups_leave_together(network, scores):
    group = next(group for group in prunable_groups(network) if group.name == "grouped")
    assert len(group.channels) == 6
    selection = by_group_rates(network, [group], scores, [0.5])
    assert selection.counts == {"grouped": (3, 6)}
    assert len(network.kept("grouped", selection.removed)) == 6


def test_layers_of_zero_mean_count_as_all_equal_and_negative_scores_keep_their_order():
    ids = np.arange(3)
    zeros, negative = np.zeros(3), np.array([-3.0, -2.0, -1.0])
    assert combine_scores(ids, [(ids, zeros), (ids, zeros)]).tolist() == [0, 0, 0]
    assert np.argsort(combine_scores(ids, [(ids, negative), (ids, zeros)])).tolist() == [0, 1, 2]


def test_of_equal_scores_the_lower_index_leaves_first():
    scores = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    assert removal_order(make_group(6), scores).tolist() == [1, 3, 4, 0, 2, 5]


def test_pinned_and_unscored_channels_never_leave():
    scores = np.array([1.0, 0.0, np.inf, 0.5])
    assert removal_order(make_group(4, pinned=[1]), scores).tolist() == [3, 0]


@pytest.mark.parametrize(("pinned", "order"), [((), [0, 2, 3]), ((0,), [1, 2, 3]), ((4,), [0, 2, 3])])
def test_the_best_of_what_each_layer_makes_stays_unless_another_of_it_is_pinned(pinned, order):
    group = make_group(5, pinned, parts=(np.array([0, 1]), np.array([3, 4])))
    assert removal_order(group, np.arange(5.0)).tolist() == order


@pytest.mark.parametrize(("n", "rate"), [(320, 1 - 0.8), (10, 0.3), (10, 0.7), (8, 0.0), (8, 0.99)])
def test_the_count_that_leaves_is_the_float_product_cut_off(n, rate):
    network = trace(nn.Sequential(nn.Conv2d(3, n, 1), nn.ReLU(), nn.Conv2d(n, 2, 1)).eval(), (3, 4, 4)).map
    scores = {"0": np.arange(n)[::-1], "2": np.ones(2)}
    selection = selected(network, scores, rate=rate)
    assert network.kept("0", selection.removed).tolist() == list(range(n - int(rate * n)))
    if n == 320:
        assert len(selection.removed) == 63


def test_at_least_min_channels_stay_and_the_shortfall_is_noted(network, scores):
    selection = selected(network, scores, rate=0.9, min_channels=4)
    assert selection.counts == {"conv1": (4, 4), "grouped": (4, 6)}
    assert any("grouped: 2 channels leave, not 5" in note for note in selection.notes)


def test_keep_rates_keep_at_least_one(network, scores):
    groups = prunable_groups(network)
    widths = {group.name: len(group.channels) for group in groups}
    selection = selected(network, scores, keep_rate="[0.01]*2")
    assert {name: kept for name, (kept, _) in selection.counts.items()} == dict.fromkeys(widths, 1)
    assert not selected(network, scores, keep_rate="[1.0]*2").removed


def test_a_papers_list_has_one_rate_per_convolution(network, scores):
    selection = selected(network, scores, compress_rate=[0.1, 0.5, 0.5, 0.9])
    assert selection.ignored == ("stem", "conv2")
    assert selection.removed == selected(network, scores, rate=0.5).removed


def test_a_list_may_have_one_rate_per_group(network, scores):
    selection = selected(network, scores, compress_rate=[0.0, 0.5])
    assert selection.ignored == ()
    assert selection.counts["conv1"][0] == selection.counts["conv1"][1]
    assert selection.counts["grouped"] == (3, 6)


def test_a_wrong_count_names_both_right_ones(network, scores):
    with pytest.raises(
        AllocationError, match=r"3 rates given; this network takes 4, one per conv.* or 2, one per"
    ):
        selected(network, scores, compress_rate=[0.5] * 3)


def test_coupled_convolutions_with_different_rates_are_named(network, scores):
    with pytest.raises(AllocationError, match=r"stem 0\.1, conv2 0\.2"):
        selected(network, scores, compress_rate=[0.1, 0.5, 0.5, 0.2], residual="coupled")
    agreed = selected(network, scores, compress_rate=[0.2, 0.5, 0.5, 0.2], residual="coupled")
    assert agreed.counts["stem"] == (8, 10)


def test_layer_rates_by_glob(network, scores):
    selection = selected(network, scores, layer_rates=["*=0.5", "conv1=0.0"])
    assert selection.counts["conv1"][0] == selection.counts["conv1"][1]
    assert selection.counts["grouped"] == (3, 6)
    assert selection.ignored == ("stem", "conv2")
    coupled = selected(network, scores, layer_rates="conv2=0.3", residual="coupled")
    assert coupled.counts["stem"] == (7, 10)
    with pytest.raises(AllocationError, match="matches no layer"):
        selected(network, scores, layer_rates="conv9=0.5")


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_out_of_range_are_refused(network, scores, rate):
    with pytest.raises(AllocationError):
        selected(network, scores, rate=rate)
    with pytest.raises(AllocationError, match="rate 2"):
        selected(network, scores, compress_rate=[0.1, rate, 0.1, 0.1])


@pytest.mark.parametrize(
    ("bad", "message"),
    [(None, "no scores for 'grouped'"), (np.ones(3), "12 filters"), (np.full(12, np.nan), "not all finite")],
)
def test_scores_that_do_not_fit_are_refused(network, scores, bad, message):
    if bad is None:
        del scores["grouped"]
    else:
        scores["grouped"] = bad
    with pytest.raises(AllocationError, match=message):
        selected(network, scores, rate=0.5)
