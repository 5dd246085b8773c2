"""From Python: what is to leave, as plans, rates, budgets and settings per layer, and what is refused."""

import json
from dataclasses import replace

import prune
import pytest
from prune.engine.errors import AllocationError, CriterionError

INNER, OUTER = "stage1.block0.conv1.conv", "stage1.block0.conv2.conv"


@pytest.fixture(scope="module")
def resnet():
    from prune.engine.network.fresh import new_network

    return new_network("resnet20", seed=0)


def test_plans_and_scores_go_through_files(resnet, tmp_path):
    scores = prune.rank(resnet, "l2")
    plan = prune.plan(resnet, scores, flops=0.5)
    prune.save(tmp_path / "scores.hdf5", scores)
    prune.save(tmp_path / "plan.json", plan)
    assert json.loads((tmp_path / "plan.json").read_text())["arch"] == "resnet20"
    assert prune.plan(resnet, tmp_path / "scores.hdf5", flops=0.5) == plan
    thin = prune.prune(resnet, plan)
    assert prune.prune(resnet, tmp_path / "plan.json").after == thin.after
    assert thin.after.macs <= 0.5 * thin.before.macs
    prune.save(tmp_path / "thin.hdf5", thin)
    assert prune.count(prune.load(tmp_path / "thin.hdf5")) == thin.after


def test_lists_of_numbers_are_rates(resnet):
    by_text = prune.plan(resnet, compress_rate="[0.0]+[0.5]*18", residual="scatter")
    assert prune.plan(resnet, compress_rate=[0.0] + [0.5] * 18, residual="scatter") == by_text
    assert len(by_text.groups[OUTER]) == 8
    assert prune.prune(resnet, by_text).difference < 1e-12
    assert prune.plan(resnet, rate=0.5, skip=INNER).groups[INNER] == tuple(range(16))


def test_settings_per_layer_narrow_just_these(resnet):
    groups = prune.plan(resnet, layers=[{"tensor_fqn": f"{INNER}.weight", "sparsity_level": 0.5}]).groups
    assert {name for name, kept in groups.items() if len(kept) == 8} == {INNER}
    everywhere = [
        {"op_types": ["Conv2d"], "sparsity_per_layer": 0.5},
        {"exclude": True, "op_names": [INNER]},
    ]
    groups = prune.plan(resnet, layers=everywhere).groups
    assert (len(groups[INNER]), len(groups["stage1.block1.conv1.conv"])) == (16, 8)


def test_an_excluded_convolution_keeps_its_whole_stream(resnet):
    """Its channels are those of the stem and of every other block of the stage."""
    settings = [{"op_types": ["Conv2d"], "sparsity": 0.5}, {"exclude": True, "op_names": [OUTER]}]
    groups = prune.plan(resnet, layers=settings, residual="coupled").groups
    assert (len(groups["stage1.conv1.conv"]), len(groups[INNER])) == (16, 8)


def test_exclusions_go_with_a_budget(resnet):
    groups = prune.plan(resnet, flops=0.6, layers=[{"exclude": True, "op_names": [INNER]}]).groups
    assert len(groups[INNER]) == 16
    assert len(groups["stage1.block1.conv1.conv"]) < 16


def test_a_layer_that_is_named_and_cannot_lose_filters_is_an_error(resnet):
    with pytest.raises(AllocationError, match=rf"'{OUTER}' keeps all its filters: .* residual='coupled'"):
        prune.plan(resnet, layers={OUTER: 0.5})


def test_scores_that_nothing_listens_to_are_refused(resnet):
    with pytest.raises(AllocationError, match="scores have no effect with `rate_norm`/`rate_dist`"):
        prune.plan(resnet, prune.rank(resnet, "l1"), rate_dist=0.4)


def test_budgets_as_text_and_the_defaults_of_the_commands(resnet):
    half = prune.plan(resnet, flops=0.5)
    assert prune.plan(resnet, flops="50%") == prune.plan(resnet) == half
    assert prune.plan(resnet, flops="20M") == prune.plan(resnet, flops=20_000_000)
    wide = prune.plan(resnet, round_to=4)
    assert all(len(kept) % 4 == 0 for kept in wide.groups.values())
    with pytest.raises(CriterionError, match="'hrank' looks at images"):
        prune.rank(resnet)
    measured = replace(resnet, input_size=(3, 16, 16), accuracy={"dataset": "digits"})
    assert prune.rank(measured, limit=1, batch_size=8).keys() == prune.rank(resnet, "l1").keys()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"flops": 50}, r"flops target 50 is out of reach: .*; did you mean 0\.5 or 50%\?"),
        ({"flops": "half"}, "'half' is no budget; write a share like 0.5"),
        ({"rate": 0.3, "round_to": 8}, "`round_to` has no effect with `rate`; leave out one of them"),
        ({"rate": 0.3, "flops": 0.5}, "`rate` and `flops`/`params` exclude each other; give one of `flops`"),
        ({"rates": 0.3}, "no setting 'rates' says what leaves; did you mean 'rate'"),
    ],
)
def test_keywords_that_do_not_go_together_are_named_as_they_were_given(resnet, wanted, message):
    with pytest.raises(AllocationError, match=message):
        prune.plan(resnet, **wanted)
