"""What can leave a network: who holds the rest, on which line, and how much each residual mode can take."""

import json

import prune
import pytest
import torch
from prune.engine.allocations.budget import Budget
from prune.engine.errors import AllocationError
from prune.engine.graph.cost import count
from prune.engine.graph.ways_out import way_out
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.runs.plain import plain
from prune.engine.selection.reach import least, reach_in_words, smallest
from torch import nn

SIZE = (3, 8, 8)


class Residual(nn.Module):
    """A stream of 8 channels, a branch of 6, a gate that softmaxes 4 channels, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.into, self.back = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.gate, self.last = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 7, 1)
        self.spread = nn.Conv2d(7, 7, 3, groups=7)
        self.fc = nn.Linear(7, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.back(self.into(x).relu())
        x = self.spread(self.last(self.gate(x).softmax(1)))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return prune.wrap(Residual().eval(), SIZE)


def test_groups_members_and_who_holds_them(network):
    found = prune.reach(network)
    groups = {group.name: group for group in found.groups}
    assert list(groups) == ["stem", "into", "gate", "last", "fc"]
    assert groups["stem"].members == ("stem", "back")
    assert groups["last"].members == ("last", "spread")
    assert [groups[name].stream for name in groups] == [True, False, False, False, False]
    assert {name: group.free for name, group in groups.items()} == {
        "stem": 8, "into": 6, "gate": 0, "last": 7, "fc": 0
    }  # fmt: skip
    (hold,) = groups["gate"].holds
    assert hold.channels == groups["gate"].channels == 4
    assert hold.place is not None
    assert (hold.place.op, hold.place.module) == ("softmax", "")
    assert hold.place.line.startswith("tests/engine/test_reach.py:")
    assert hold.reason.endswith(hold.place.line)
    assert hold.way_out


def test_the_least_of_every_mode_can_be_reached(network):
    found = prune.reach(network)
    assert found.modes.keys() == {"internal", "coupled", "scatter"}
    traced = prune.trace(network)
    for mode in ("internal", "coupled"):
        removed = smallest(traced.map, mode)
        cut = narrow_proven(network.model, traced, SIZE, lambda _, removed=removed: removed)
        after = count(traced.map, cut.removed)
        assert cut.misfits == ()
        assert (found.modes[mode].macs, found.modes[mode].params) == (after.macs, after.params)
        assert found.modes[mode].share == 1 - after.macs / found.before.macs
    assert found.modes["internal"].macs > found.modes["scatter"].macs > found.modes["coupled"].macs
    thin = prune.prune(network, prune.plan(network, rate=0.99, residual="scatter"))
    assert thin.after.macs == found.modes["scatter"].macs


def test_one_of_every_concatenated_part_stays():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.both = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 8, 1)
            self.fc = nn.Linear(8, 5)

        def forward(self, x):
            parts = torch.cat([self.one(x), self.two(x)], 1)
            return self.fc((parts + self.both(parts)).mean((2, 3)))

    network = prune.wrap(Parts().eval(), SIZE)
    assert len(smallest(prune.trace(network).map, "coupled")) == 6


def test_where_no_stream_is_all_modes_are_one():
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)]
    found = prune.reach(prune.wrap(nn.Sequential(*layers).eval(), SIZE))
    assert len(set(found.modes.values())) == 1


def test_what_the_code_holds_on_to_counts_as_held():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Linear(6 * 64, 5)

        def forward(self, x):
            return self.fc(self.two(self.one(x).view(-1, 8, 8, 8)).flatten(1))

    found = prune.reach(prune.wrap(Frozen().eval(), SIZE))
    one, two, _ = found.groups
    assert (one.free, two.free) == (0, 6)
    assert "without channels of one the network fails" in one.holds[0].reason
    assert one.holds[0].way_out == "take the number from x.shape, not from the code"
    assert found.modes["internal"] == least(prune.trace(prune.wrap(Frozen().eval(), SIZE)).map)


def test_it_can_be_printed_and_kept(network):
    found = prune.reach(network)
    assert "5 groups of channels, 2 with channels that stay" in repr(found)
    assert "channels are mixed at softmax" in repr(found)
    assert json.loads(json.dumps(plain(found)))["modes"]["coupled"]["macs"] == found.modes["coupled"].macs


def test_every_refusal_of_a_budget_says_how_far_one_can_get(network):
    found = prune.reach(network)
    internal, coupled, scatter = (f"{found.modes[m].share:.1%}" for m in ("internal", "coupled", "scatter"))
    both = (
        f"at most {internal} of the MACs can leave in `residual` internal, {coupled} in coupled, perhaps "
        "more in scatter; `prune inspect` with `channels` says what holds the rest"
    )
    assert reach_in_words(prune.trace(network).map, "internal") == both
    for wanted in ({"flops": 0.001}, {"flops": 0.5, "skip": "*"}, {"rate": 0.5, "skip": "*"}):
        with pytest.raises(AllocationError) as caught:
            prune.plan(network, **wanted)
        assert both in str(caught.value)
    with pytest.raises(
        AllocationError, match=f"at most {scatter} of the MACs can leave in `residual` scatter;"
    ):
        prune.plan(network, flops=0.001, residual="scatter")
    assert Budget(flops=0.001).residual == "internal"


@pytest.mark.parametrize(
    "reason",
    [
        "channels are mixed at softmax in body, a.py:1",
        "the network runs other code when it is narrower",
        "statistics over all channels at layer_norm in norm, a.py:1",
        "ids that do not go by channel at lstm in rnn",
        "a remembered state at gru in rnn",
        "offsets at deform_conv2d in conv",
    ],
)
def test_reasons_have_ways_out(reason):
    assert way_out(reason)
    assert way_out("something new") == ""


def test_a_network_without_streams_is_told_of_no_modes():
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)]
    told = reach_in_words(prune.trace(prune.wrap(nn.Sequential(*layers).eval(), SIZE)).map, "internal")
    assert (
        told
        == "at most 87.5% of the MACs can leave; `prune inspect` with `channels` says what holds the rest"
    )
