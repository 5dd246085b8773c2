"""Which rates and plans tell streams apart, which leave them one, and which are refused."""

from pathlib import Path

import pytest
from prune.engine import api
from prune.engine.allocations import required
from prune.engine.errors import AllocationError
from prune.engine.narrowing.pruning import as_asked, forecast
from prune.engine.network.network import Network
from prune.engine.selection import plan as plans
from streams import ARCH, CROPS, STAGE1, STAGE2, STEM, WIDTHS, indices, keep_rate, pruned, randomised


@pytest.fixture(scope="module")
def resnet20() -> Network:
    return randomised("resnet20")


@pytest.fixture(scope="module")
def resnet8() -> Network:
    return randomised(ARCH)


def test_equal_rates_leave_one_stream_and_no_index(resnet8: Network):
    outcome = pruned(resnet8, keep_rate=keep_rate(0.5, 0.5, 0.5, 0.5))
    assert CROPS not in indices(outcome.network.model)
    assert outcome.kept[STEM] == outcome.kept[STAGE1]
    for settings in ({"flops": 0.5}, {"rate": 0.5}, {"layer_rates": (f"{STEM}=0.5",)}):
        narrow = pruned(resnet8, **settings)
        assert CROPS not in indices(narrow.network.model), settings
        assert narrow.kept[STEM] == narrow.kept[STAGE1]


@pytest.mark.parametrize("residual", ["internal", "scatter"])
def test_only_coupled_tells_streams_apart(resnet20: Network, residual: str):
    allocation = required(
        {"keep_rate": keep_rate(*WIDTHS["cropped at once"], blocks=3), "residual": residual}
    )
    assert as_asked(resnet20, allocation)[0] is resnet20


def test_rates_by_name_tell_streams_apart(resnet8: Network):
    rates = (f"{STEM}=0", "stage1.block?.conv2.conv=0.25")
    outcome = pruned(resnet8, layer_rates=rates)
    assert (len(outcome.kept[STEM]), len(outcome.kept[STAGE1])) == (16, 12)
    assert indices(outcome.network.model)[CROPS] == outcome.kept[STAGE1]


def test_a_plan_tells_streams_apart_by_naming_both(resnet8: Network, tmp_path: Path):
    plan = plans.Plan(ARCH, "coupled", {STEM: tuple(range(1, 16)), STAGE1: (0, 1, 4)})
    outcome = pruned(resnet8, plan=plan)
    assert indices(outcome.network.model)[CROPS] == [-1, 0, 3]
    plans.write(tmp_path / "plan.json", outcome.plan)
    again = pruned(resnet8, plan=tmp_path / "plan.json")
    assert again.kept == outcome.kept
    together = pruned(resnet8, plan=plans.Plan(ARCH, "coupled", {STEM: (0, 1, 4)}))
    assert together.kept[STEM] == together.kept[STAGE1] == [0, 1, 4]
    with pytest.raises(AllocationError, match=r"'stage1\.conv2', which this network does not have"):
        pruned(resnet8, plan=plans.Plan(ARCH, "coupled", {"stage1.conv2": (0,)}))


def test_python_plans_and_counts_unequal_widths(resnet20: Network):
    rates = {STEM: 0.0, "stage1.block*.conv2.conv": 0.25}
    plan = api.plan(resnet20, layers=rates, residual="coupled")
    assert (len(plan.groups[STEM]), len(plan.groups[STAGE1])) == (16, 12)
    outcome = api.prune(resnet20, plan)
    allocation = required({"layer_rates": tuple(f"{n}={r}" for n, r in rates.items()), "residual": "coupled"})
    assert forecast(resnet20, allocation).after == outcome.after


def test_a_refusal_says_which_rates_may_differ(resnet20: Network):
    rates = keep_rate(1.0, 0.5, 0.5, 1.0, blocks=3).replace("[0.5]+[1.0]", "[0.5]+[0.75]", 1)
    with pytest.raises(AllocationError) as refused:
        pruned(resnet20, keep_rate=rates)
    assert str(refused.value) == (
        "these layers lose the same channels, so their rates must be equal: "
        "stage3.block0.conv2.conv 0.75, stage3.block1.conv2.conv 1, stage3.block2.conv2.conv 1; give them "
        "one rate, or skip 'stage3.block0.conv2.conv'; 'stage2.block0.conv2.conv', on the other side of "
        "stage3.block0.shortcut, may have another"
    )
    rates = keep_rate(1.0, 0.5, 0.5, 1.0, blocks=3).replace("[0.5]+[0.5]", "[0.5]+[0.75]", 1)
    with pytest.raises(AllocationError, match=rf"'{STEM}', on the other side .*; '{STAGE2}', on the other"):
        pruned(resnet20, keep_rate=rates)


def test_an_index_goes_where_both_sides_keep_the_same(resnet8: Network):
    """Unequal rates of which nothing comes, and a plan that names the same channels twice."""
    outcome = pruned(resnet8, layer_rates=(f"{STEM}=0", "stage1.block?.conv2.conv=0.05"))
    assert indices(outcome.network.model) == {}
    twice = plans.Plan(ARCH, "coupled", {STEM: (0, 1, 4), STAGE1: (0, 1, 4)})
    outcome = pruned(resnet8, plan=twice)
    assert CROPS not in indices(outcome.network.model)
    assert len(outcome.kept[STEM]) == len(outcome.kept[STAGE1]) == 3
    begins = plans.Plan(ARCH, "coupled", {STEM: (0, 1, 2, 3), STAGE1: (0, 1, 2)})
    assert indices(pruned(resnet8, plan=begins).network.model)[CROPS] == [0, 1, 2]  # it crops
