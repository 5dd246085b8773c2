"""One way of saying what leaves, and only one; and what every allocation must do, whatever its name."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from prune.archs import registry
from prune.engine import allocations
from prune.engine.allocations import allocation_of, offers, required, stored
from prune.engine.allocations.budget import Budget
from prune.engine.allocations.deps import Deps
from prune.engine.allocations.plan import Planned
from prune.engine.allocations.rate import Rate
from prune.engine.allocations.rate_list import RateList
from prune.engine.errors import AllocationError
from prune.engine.graph.trace import trace
from prune.engine.selection import plan as plans
from prune.engine.selection.allocation import Prunable, default_of
from prune.engine.selection.plan import Plan, plan_of
from prune.engine.selection.selection import equal_scores

WAYS = {
    "`compress_rate`": {"compress_rate": "[0.1]*19"},
    "`keep_rate`": {"keep_rate": "[0.5]*19"},
    "`rate`": {"rate": 0.5},
    "`layer_rates`": {"layer_rates": ("*=0.5",)},
    "`rate_norm`/`rate_dist`": {"rate_dist": 0.3},
    "`flops`/`params`": {"flops": 0.5, "params": 0.6},
    "`deps`": {"deps": (16, 8)},
    "`plan`": {"plan": Path("plan.json")},
}
# What config.json has said since the first run folder.
SETTINGS = {
    "compress_rate": None,
    "keep_rate": None,
    "rate": None,
    "layer_rates": [],
    "rate_norm": None,
    "rate_dist": None,
    "flops": None,
    "params": None,
    "deps": None,
    "plan": None,
    "distance": "l2",
    "residual": "internal",
    "skip": [],
    "ranking": "local",
    "round_to": 1,
    "min_channels": 1,
    "max_rate": 0.9,
}


@pytest.fixture(scope="module")
def resnet20():
    return trace(registry.get("resnet20").build(10), (3, 32, 32)).map


def test_nothing_said_is_refused():
    assert allocation_of({}) is None
    with pytest.raises(AllocationError, match="nothing says how much is to leave; give one of `flops`, "):
        required({})


def test_limits_alone_say_nothing_and_narrow_what_is_added():
    limits = {"round_to": 8, "skip": ["conv1"], "rate": None}
    assert allocation_of(limits) is None
    assert allocation_of({**limits, "flops": 0.5}) == Budget(flops=0.5, round_to=8, skip=("conv1",))


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_known_by_its_settings(way):
    assert required(WAYS[way]).way == way


def test_all_ways_are_listed_those_most_wanted_first():
    assert offers() == (
        "`flops`, `params`, `rate`, `layer_rates`, `compress_rate`, `keep_rate`, `rate_norm`/`rate_dist`, "
        "`deps`, `plan`"
    )


@pytest.mark.parametrize(("one", "other"), list(combinations(WAYS, 2)))
def test_two_ways_exclude_each_other_in_the_order_they_were_given(one, other):
    with pytest.raises(AllocationError) as refused:
        allocation_of({**WAYS[one], **WAYS[other]})
    assert str(refused.value) == f"{one} and {other} exclude each other; give one of {offers()}"


LIMITS = {"skip": ("a",), "ranking": "global", "round_to": 8, "min_channels": 2, "max_rate": 0.5}
LIMITS |= {"distance": "l1", "residual": "coupled"}
HEARD = {
    "`rate`": {"skip", "min_channels", "residual"},
    "`compress_rate`": {"skip", "min_channels", "residual"},
    "`keep_rate`": {"skip", "min_channels", "residual"},
    "`layer_rates`": {"skip", "min_channels", "residual"},
    "`rate_norm`/`rate_dist`": {"skip", "min_channels", "residual", "distance"},
    "`flops`/`params`": {"skip", "min_channels", "residual", "ranking", "round_to", "max_rate"},
    "`deps`": {"residual"},
    "`plan`": {"residual"},
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("way", WAYS)
def test_a_limit_is_heard_or_refused(way, limit):
    settings = {**WAYS[way], limit: LIMITS[limit]}
    if limit in HEARD[way]:
        assert getattr(required(settings), limit) == LIMITS[limit]
        return
    with pytest.raises(AllocationError) as refused:
        required(settings)
    assert str(refused.value) == f"`{limit}` has no effect with {way}; leave out one of them"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_left_at_its_default_counts_as_not_given(way):
    assert required({**SETTINGS, **WAYS[way]}) == required(WAYS[way])


def test_a_setting_that_there_is_not_is_named():
    with pytest.raises(AllocationError, match="no setting 'rat' says what leaves; did you mean 'rate'"):
        allocation_of({"rat": 0.5})
    with pytest.raises(AllocationError, match="no allocation 'rates'; did you mean 'rate'"):
        allocations.get("rates")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rate": 0.5, "residual": "all"},
            "no residual mode 'all'; choose one of internal, coupled, scatter",
        ),
        ({"flops": 0.5, "ranking": "best"}, "no ranking 'best'; choose one of local, global, loss"),
    ],
)
def test_an_unknown_word_is_refused_with_those_there_are(settings, message):
    with pytest.raises(AllocationError) as refused:
        required(settings)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.5}, "the rate is 1.5"),
        ({"compress_rate": "3*[0.5]"}, r"write '\[0.5\]\*3'"),
        ({"keep_rate": [0.5, 0.0]}, "rate 2 is 0; a share that is kept"),
        ({"layer_rates": "conv1"}, "is not 'GLOB=RATE'"),
        ({"flops": 0}, "flops target 0 is not positive"),
        ({"deps": "16;8"}, "deps '16;8' are neither widths"),
    ],
)
def test_slips_of_the_pen_are_refused_before_anything_is_scored(settings, message):
    with pytest.raises(AllocationError, match=message):
        required(settings)


def test_an_allocation_made_by_hand_needs_what_it_is_made_of():
    with pytest.raises(AllocationError, match="either `compress_rate` or `keep_rate`; give one of them"):
        RateList()
    with pytest.raises(AllocationError, match="either `compress_rate` or `keep_rate`; give one of them"):
        RateList(compress_rate="[0.5]", keep_rate="[0.5]")
    with pytest.raises(AllocationError, match="`layer_rates` names no layer"):
        allocations.get("layer-rates")()
    with pytest.raises(FrozenInstanceError):
        Rate(rate=0.5).rate = 0.1


def test_values_take_their_form():
    by_text = required({"compress_rate": "[0.1]+[0.5]"})
    assert required({"compress_rate": [0.1, 0.5]}) == by_text
    assert required({"rate": 0.5, "skip": "conv1"}) == Rate(rate=0.5, skip=("conv1",))
    assert required({"rate": 0.5, "skip": (name for name in "ab")}) == Rate(rate=0.5, skip=("a", "b"))
    assert required({"deps": np.array([16, 8])}) == required({"deps": "16,8"}) == Deps(deps=(16, 8))
    assert required({"plan": "p.json"}) == Planned(plan=Path("p.json"))


def test_given_lists_what_differs_from_the_defaults():
    assert Budget(flops=0.5, skip=("a*",)).given() == {"flops": 0.5, "skip": ("a*",)}
    assert Planned(plan=Path("p.json")).given() == {"plan": "p.json"}
    assert Planned(plan=Plan("resnet20", "internal", {})).given() == {"plan": "in memory"}
    assert list(Rate(rate=0.5, residual="coupled").given()) == ["rate", "residual"]


def test_every_setting_is_stored_that_run_folders_have_always_had():
    assert stored(Rate(rate=0.5, skip=("a",))) == {**SETTINGS, "rate": 0.5, "skip": ["a"]}
    plan = Plan("resnet20", "coupled", {"conv1": (0, 2)})
    written = {"arch": "resnet20", "residual": "coupled", "groups": {"conv1": [0, 2]}}
    assert stored(Planned(plan=plan)) == {**SETTINGS, "plan": written}


def test_a_plan_is_stored_whole_and_survives_its_file(tmp_path):
    plan = Plan("resnet20", "coupled", {"conv1": (0, 2)})
    plans.write(tmp_path / "plan.json", plan)
    kept = stored(Planned(plan=tmp_path / "plan.json"))
    (tmp_path / "plan.json").unlink()
    assert required(kept) == Planned(plan=plan)


def test_a_plan_brings_its_residual_mode(tmp_path):
    plan = Plan("resnet20", "coupled", {})
    assert Planned(plan=plan).for_arch("resnet20") == Planned(plan=plan, residual="coupled")
    with pytest.raises(AllocationError, match=r"is for arch 'resnet20', this .* its own with `plan_out`"):
        Planned(plan=plan).for_arch("resnet56")
    with pytest.raises(AllocationError, match="is for `residual` coupled, not scatter; leave that out"):
        Planned(plan=plan, residual="scatter").for_arch("resnet20")


def test_which_know_the_widths_without_scores():
    free = {name for name in allocations.names() if not allocations.get(name).needs_scores}
    assert free == {"norm-distance", "plan"}
    assert [n for n in allocations.names() if allocations.get(n).widths_depend_on_scores] == ["budget"]


def test_internal_leaves_streams_alone_and_coupled_does_not(resnet20):
    scores = equal_scores(resnet20)
    streams = {int(i) for group in resnet20.groups if group.stream for i in group.channels}
    internal = Rate(rate=0.5).select(Prunable(map=resnet20), scores).removed
    coupled = Rate(rate=0.5, residual="coupled").select(Prunable(map=resnet20), scores).removed
    assert internal
    assert not internal & streams
    assert len(coupled & streams) == (16 + 32 + 64) // 2
    assert coupled - streams == internal


def test_a_plan_selects_what_it_says(resnet20, tmp_path):
    network = Prunable(map=resnet20)
    removed = Rate(rate=0.25).select(network, equal_scores(resnet20)).removed
    plans.write(tmp_path / "plan.json", plan_of(resnet20, removed, arch="resnet20", residual="internal"))
    assert Planned(plan=tmp_path / "plan.json").select(network, {}).removed == removed


def test_partly_pinned_streams_lose_only_free_channels(resnet20):
    stream = next(group for group in resnet20.groups if group.stream)
    pinned = resnet20.pin(stream.channels[:6], "for a test")
    scores = {name: np.arange(len(s), dtype=float) for name, s in equal_scores(resnet20).items()}
    removed = Rate(rate=0.5, residual="coupled").select(Prunable(map=pinned), scores).removed
    assert sorted(removed & set(stream.channels.tolist())) == sorted(stream.channels[6:14].tolist())


def test_names_are_found_without_torch():
    code = (
        "import sys; from prune.engine import allocations as a; a.names(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_setting_means_the_same_in_every_allocation():
    kinds = [allocations.get(name) for name in allocations.names()]
    defaults = {(f.name, repr(default_of(f))) for kind in kinds for f in fields(kind)}
    assert len(defaults) == len(allocations.settings())
    claims = [name for kind in kinds for way in kind.ways for name in way]
    assert len(set(claims)) == len(claims)
    assert all({f.name for f in fields(kind)}.issuperset(sum(kind.ways, ())) for kind in kinds)
    assert allocations.settings().keys() == SETTINGS.keys()
