import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.engine.allocations import allocation_of
from prune.engine.allocations.budget import Budget
from prune.engine.errors import AllocationError
from prune.engine.graph.cost import Counter
from prune.engine.graph.trace import trace
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.removal_order import Limits, RemovalOrder, first_length
from prune.engine.selection.selection import prunable_groups

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network():
    return trace(registry.get("resnet20").build(10).eval(), (3, 32, 32)).map


@pytest.fixture(scope="module")
def scores(network):
    generator = np.random.default_rng(0)
    # Rounded, so that many scores are equal.
    return {layer.name: generator.random(len(layer.out_ids)).round(1) + 0.1 for layer in network.layers}


def by_budget(network, scores, **settings):
    return Budget(**settings).select(Prunable(map=network), scores)


def order_of(network, scores, residual="internal", **options):
    return RemovalOrder(network, prunable_groups(network, residual), scores, **options)


@pytest.mark.parametrize("residual", ["internal", "coupled"])
@pytest.mark.parametrize("ranking", ["local", "global"])
@pytest.mark.parametrize("round_to", [1, 4])
def test_longer_prefixes_remove_more_and_never_put_a_channel_back(
    network, scores, residual, ranking, round_to
):
    order = order_of(network, scores, residual, ranking=ranking, limits=Limits(round_to=round_to))
    counter = Counter(network)
    before, cost_before = set(), counter.totals(())
    for length in range(len(order) + 1):
        removed = set(order.removed(length).tolist())
        cost = counter.totals(order.removed(length))
        assert removed >= before
        assert round_to > 1 or len(removed) == length
        assert cost[0] <= cost_before[0]
        assert cost[1] <= cost_before[1]
        before, cost_before = removed, cost


@pytest.mark.parametrize("residual", ["internal", "coupled"])
@pytest.mark.parametrize("ranking", ["local", "global"])
@pytest.mark.parametrize(
    ("flops", "params"), [(0.5, None), (None, 0.5), (0.7, 0.4), (0.4, 0.9), (20e6, None), (0.999, None)]
)
def test_a_budget_is_met_and_one_step_less_does_not_meet_it(
    network, scores, residual, ranking, flops, params
):
    counter = Counter(network)
    macs, weights = counter.totals(())
    limits_ = [
        np.inf if target is None else target if target > 1 else target * whole
        for target, whole in ((flops, macs), (params, weights))
    ]

    def meets(removed):
        return all(cost <= limit for cost, limit in zip(counter.totals(removed), limits_, strict=True))

    targets = {"flops": flops, "params": params}
    selection = by_budget(network, scores, **targets, ranking=ranking, residual=residual)
    assert meets(selection.removed)
    order = order_of(network, scores, residual, ranking=ranking)
    assert set(order.removed(len(selection.removed)).tolist()) == selection.removed
    assert not meets(order.removed(len(selection.removed) - 1))


def test_the_whole_network_meets_a_budget_of_all_of_it(network, scores):
    assert not by_budget(network, scores, flops=1.0).removed


def test_local_ranking_narrows_all_groups_in_step(network, scores):
    selection = by_budget(network, scores, flops=0.5)
    shares = [kept / n for kept, n in selection.counts.values()]
    assert max(shares) - min(shares) <= 1 / 16


def test_within_a_group_small_scores_leave_first(network, scores):
    for ranking in ("local", "global"):
        removed = by_budget(network, scores, flops=0.6, ranking=ranking).removed
        for group in prunable_groups(network):
            layer = network.layer(group.producers[0])
            gone = np.isin(layer.out_ids, list(removed))
            ranked = np.argsort(scores[layer.name], kind="stable")
            assert np.array_equal(np.sort(ranked[: gone.sum()]), np.flatnonzero(gone))


def test_global_ranking_compares_scores_across_groups(network):
    scores = {layer.name: np.ones(len(layer.out_ids)) for layer in network.layers}
    groups = prunable_groups(network)
    worthless = network.layer(groups[3].producers[0])
    # Half of its filters far below its mean: they leave before any other group loses one.
    scores[worthless.name] = np.where(np.arange(len(worthless.out_ids)) % 2, 1.0, 0.01)
    order = RemovalOrder(network, groups, scores, ranking="global")
    first = order.removed(len(worthless.out_ids) // 2)
    assert set(first.tolist()) == set(worthless.out_ids[::2].tolist())


@pytest.mark.parametrize("multiple", [4, 8, 12])
def test_widths_are_rounded_up_to_multiples(network, scores, multiple):
    selection = by_budget(network, scores, flops=0.75, round_to=multiple)
    assert selection.removed
    assert all(kept % multiple == 0 or kept == n for kept, n in selection.counts.values())
    counter = Counter(network)
    assert counter.totals(selection.removed)[0] <= 0.75 * counter.totals(())[0]


def test_groups_narrower_than_the_multiple_stay_whole(network, scores):
    selection = by_budget(network, scores, flops=0.9, round_to=32)
    assert all(kept == n for kept, n in selection.counts.values() if n <= 32)
    assert selection.removed


@pytest.mark.parametrize(("min_channels", "max_rate"), [(1, 1.0), (5, 1.0), (1, 0.5), (1, 0.0)])
def test_the_longest_prefix_obeys_the_limits(network, scores, min_channels, max_rate):
    order = order_of(network, scores, limits=Limits(min_channels=min_channels, max_rate=max_rate))
    for kept, n in order.selection(len(order)).counts.values():
        assert kept == max(min_channels, n - int(max_rate * n))


def test_a_budget_out_of_reach_says_what_is_in_reach_and_why(network, scores):
    budget = Budget(flops=0.01, max_rate=0.5, round_to=4)
    with pytest.raises(AllocationError) as caught:
        budget.select(Prunable(map=network), scores)
    with pytest.raises(AllocationError) as checked:
        budget.check(Prunable(map=network))
    assert str(checked.value) == str(caught.value)
    order = order_of(network, scores, limits=Limits(max_rate=0.5, round_to=4))
    least = Counter(network).totals(order.removed(len(order)))[0]
    message = str(caught.value)
    assert f"the smallest network has {least:,}" in message
    for part in ("flops target 4", "max-rate 0.5 (9 groups)", "round-to 4", "3 groups left alone"):
        assert part in message, message
    assert "params" not in message


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({"flops": 0.01}, "3 groups left alone", "round-to"),
        ({"flops": 0.01, "round_to": 2}, "round-to 2", "params target"),
        ({"flops": 0.001, "residual": "coupled"}, "max-rate 0.9", "left alone"),
        ({"flops": 1.5}, "flops target 2 is out of reach", "params target"),  # above 1, a number
    ],
)
def test_a_budget_out_of_reach_names_what_holds_it_and_nothing_else(network, settings, said, unsaid):
    with pytest.raises(AllocationError) as caught:
        Budget(**settings).check(Prunable(map=network))
    assert said in str(caught.value)
    assert unsaid not in str(caught.value)


def test_of_two_targets_the_one_that_is_met_exactly_is_not_missed(network):
    order = order_of(network, {layer.name: np.ones(len(layer.out_ids)) for layer in network.layers})
    least = Counter(network).totals(order.removed(len(order)))[1]
    with pytest.raises(AllocationError) as caught:
        Budget(flops=0.001, params=least).check(Prunable(map=network))
    assert "flops target" in str(caught.value)
    assert "params target" not in str(caught.value)


def test_groups_narrower_than_min_channels_stay_whole(network, scores):
    order = order_of(network, scores, limits=Limits(min_channels=33))
    counts = order.selection(len(order)).counts.values()
    assert {(kept, n) for kept, n in counts} == {(16, 16), (32, 32), (33, 64)}


def test_a_network_without_prunable_groups_has_no_reach():
    network = trace(torch.nn.Conv2d(3, 4, 1).eval(), (3, 4, 4)).map
    order = RemovalOrder(network, prunable_groups(network), {})
    assert first_length(order, lambda removed: False) is None
    assert not order.removed(len(order)).size
    with pytest.raises(AllocationError, match="nothing may leave"):
        by_budget(network, {}, flops=0.5)


def test_bisection_serves_any_cost(network, scores):
    order = order_of(network, scores)
    assert first_length(order, lambda removed: len(removed) >= 17) == 17
    assert first_length(order, lambda removed: True) == 0
    assert first_length(order, lambda removed: False) is None


@pytest.mark.parametrize("residual", ["internal", "coupled"])
def test_a_budget_leaves_streams_as_they_are(network, residual):
    assert Budget(flops=0.5, residual=residual).parts_streams(Prunable(map=network)) is False


@pytest.mark.parametrize("options", [{}, {"flops": 0.0}, {"params": -1}, {"flops": 0.5, "ranking": "best"}])
def test_odd_targets_are_refused(options):
    with pytest.raises(AllocationError):
        Budget(**options)


@pytest.mark.parametrize("options", [{"min_channels": 0}, {"round_to": 0}, {"max_rate": 1.1}])
def test_odd_limits_are_refused(options):
    with pytest.raises(AllocationError, match="limits are"):
        Limits(**options)
    with pytest.raises(AllocationError, match="limits are"):
        allocation_of({"flops": 0.5, **options})
