"""The two proofs, by mutation: each kind of wrong network must be found out by one of them."""

import copy

import prune
import pytest
import torch
from prune.engine.errors import ProofError, TraceError
from prune.engine.graph.trace import trace
from prune.engine.modules.fit import fit
from prune.engine.narrowing import crashes, narrowing
from prune.engine.narrowing.narrowing import narrow_as_planned, narrow_proven
from prune.engine.narrowing.structure import structure_misfit
from prune.engine.narrowing.surgery import mask, narrow
from prune.engine.narrowing.values import value_difference
from torch import nn

SIZE = (3, 8, 8)
REMOVED = (1, 4)  # filters of the first layer


class Chain(nn.Module):
    """Two convs and their norms; `twist` is applied to the first one's channels."""

    def __init__(self, twist=lambda x: x):
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3)
        self.fc, self.twist = nn.Linear(6, 4), twist

    def forward(self, x):
        x = self.twist(torch.relu(self.norm(self.one(x))))
        return self.fc(torch.relu(self.two(x)).mean((2, 3)))


def build(twist=lambda x: x) -> nn.Module:
    torch.manual_seed(0)
    model = Chain(twist).eval()
    nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    nn.init.uniform_(model.norm.bias, 0.1, 0.5)
    model.norm.running_mean.uniform_(-0.3, 0.3)
    model.norm.running_var.uniform_(0.5, 1.5)
    return model


def cut(model, traced):
    removed = traced.map.layer("one").out_ids[list(REMOVED)].tolist()
    return removed, narrow(model.state_dict(), traced.map, removed)


def difference(model, traced, removed, state):
    masked = copy.deepcopy(model)
    masked.load_state_dict(mask(model.state_dict(), traced.map, removed))
    thin = fit(copy.deepcopy(model), state)
    images_NCHW = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return value_difference(masked.double(), thin.double(), traced, removed, images_NCHW)


def test_the_right_slices_pass_both():
    model = build()
    traced = trace(model, SIZE)
    removed, state = cut(model, traced)
    assert difference(model, traced, removed, state) < 1e-12
    assert structure_misfit(traced, trace(fit(copy.deepcopy(model), state), SIZE), removed) is None


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("one.weight", 0),
        ("one.bias", 0),
        ("norm.weight", 0),
        ("norm.bias", 0),
        ("norm.running_mean", 0),
        ("norm.running_var", 0),
        ("two.weight", 1),
        ("fc.weight", 1),
    ],
)
def test_values_find_any_axis_cut_at_the_wrong_place(name, dim):
    model = build()
    traced = trace(model, SIZE)
    removed, state = cut(model, traced)
    state[name] = state[name].roll(1, dim)
    assert difference(model, traced, removed, state) > 1e-4


def test_values_look_inside_where_the_logits_do_not_change():
    """A layer that the rest of the network ignores is compared all the same."""
    model = build()
    nn.init.zeros_(model.two.weight)
    traced = trace(model, SIZE)
    removed, state = cut(model, traced)
    state["one.weight"] = state["one.weight"].flip(0)
    assert difference(model, traced, removed, state) > 1e-4


def test_values_that_are_not_finite_prove_nothing():
    model = build()
    nn.init.constant_(model.norm.bias, float("nan"))
    traced = trace(model, SIZE)
    removed, state = cut(model, traced)
    with pytest.raises(ProofError, match="two is not finite"):
        difference(model, traced, removed, state)


@pytest.mark.parametrize(
    ("twist", "message"),
    [
        (lambda x: x if x.shape[1] == 8 else x[:, [1, 0, 2, 3, 4, 5]], "runs other code"),
        (lambda x: x.flip(1) if x.shape[1] == 8 else x.flip(0), "does not follow its channels"),
        (lambda x: x.roll(1 if x.shape[1] == 8 else 2, 1), "does not follow its channels"),
        (lambda x: torch.cat([x[:, :4], x[:, 4:]], 1), "slice in the top module does not follow"),
        (lambda x: x * (x.shape[1] / 8), "mul in the top module computes with the number of channels"),
        (lambda x: x.add(x, alpha=x.shape[1]), "add in the top module computes with the number of channels"),
    ],
)
def test_structure_finds_code_that_does_not_follow(twist, message):
    model = build(twist)
    traced = trace(model, SIZE)
    removed, state = cut(model, traced)
    misfit = structure_misfit(traced, trace(fit(copy.deepcopy(model), state), SIZE), removed)
    assert misfit is not None
    assert message in misfit.reason


@pytest.mark.parametrize("twist", [lambda x: torch.pixel_unshuffle(x, 2), lambda x: torch.cat([x] * 4, 1)])
def test_one_channel_is_as_good_as_many(twist):
    """A single channel cannot be told from an axis that no channel indexes: that is no misfit."""

    class Scaled(Chain):
        def __init__(self):
            super().__init__(lambda x: x)
            self.two, self.scale = nn.Conv2d(32, 6, 3), nn.Parameter(torch.rand(8, 1, 1))

        def forward(self, x):
            x = twist(torch.relu(self.norm(self.one(x))) * self.scale)
            return self.fc(torch.relu(self.two(x)).mean((2, 3)))

    model = Scaled().eval()
    first = trace(model, SIZE).map.layer("one").out_ids
    result = narrow_proven(model, trace(model, SIZE), SIZE, lambda channel_map: first[1:])
    assert result.misfits == ()
    assert result.model.one.out_channels == 1


def test_a_network_whose_copies_are_not_independent_is_refused():
    """A lambda that names the network keeps the old one's parameters in every copy."""
    model = build()
    model.scale = nn.Parameter(torch.rand(8, 1, 1))
    model.twist = lambda x: x * model.scale
    with pytest.raises(ProofError, match="a copy of the network is not the same network"):
        narrow_proven(model, trace(model, SIZE), SIZE, lambda m: m.layer("one").out_ids[1:])


def test_a_network_that_cannot_be_followed_is_refused_quietly(capfd):
    model = build(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(TraceError, match="cannot be followed on 2 images of 3x8x8"):
        trace(model, SIZE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_and_memory_formats_are_kept(dtype):
    model = build().to(dtype, memory_format=torch.channels_last).train()
    result = narrow_proven(model, trace(model, SIZE), SIZE, lambda m: m.layer("one").out_ids[:3])
    assert result.difference < 1e-12
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    assert model.training
    assert not result.model.training


def test_a_network_that_runs_is_cut_once(monkeypatch):
    cuts = []

    def counting(*args):
        cuts.append(args)
        return narrow(*args)

    monkeypatch.setattr(crashes, "narrow", counting)
    model = build()
    narrow_proven(model, trace(model, SIZE), SIZE, lambda m: m.layer("one").out_ids[:3])
    assert len(cuts) == 1


def test_who_only_plans_makes_no_narrow_weights(monkeypatch):
    monkeypatch.setattr(narrowing, "fill", lambda *_: pytest.fail("weights were cut"))
    net = prune.wrap(build(), SIZE)
    assert len(prune.plan(net, rate=0.5).groups["one"]) == 4


def test_weights_are_cut_in_portions(monkeypatch):
    monkeypatch.setattr(crashes, "PORTION", 200)
    portions = []

    def counting(*args):
        portions.append(list(args[0]))
        return narrow(*args)

    monkeypatch.setattr(crashes, "narrow", counting)
    model = build()
    result = narrow_proven(model, trace(model, SIZE), SIZE, lambda m: m.layer("one").out_ids[:3])
    assert result.difference < 1e-12
    assert len(portions) > 3
    assert [name for some in portions for name in some] == list(model.state_dict())


def test_code_that_is_cut_around_runs_with_the_narrow_weights():
    class Looks(nn.Module):
        def forward(self, x):
            assert x.isfinite().all()  # not to be followed
            return x

    model = build(twist=Looks())
    traced = trace(model, SIZE)
    assert traced.opaque == {"twist"}
    result = narrow_proven(model, traced, SIZE, lambda m: m.layer("one").out_ids[:3])
    assert not result.misfits


def test_the_structure_alone_is_proven_where_no_more_is_asked_for(monkeypatch):
    monkeypatch.delattr(narrowing, "value_difference")
    model = build(twist=lambda x: x.view(-1, 8, 6, 6))  # it froze a number: the first choice is refused
    traced = trace(model, SIZE)
    cut = narrow_as_planned(model, traced, SIZE, lambda m: m.layer("one").out_ids[:3])
    assert not cut.removed
    assert cut.misfits
    assert cut.map.pinned.keys() >= set(traced.map.layer("one").out_ids[:3].tolist())


def test_what_a_network_writes_into_its_buffers_stays_out_of_the_result():
    class Counting(Chain):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = Counting().eval()
    traced = trace(model, SIZE)
    cut = narrow_as_planned(model, traced, SIZE, lambda m: m.layer("one").out_ids[:3])
    assert cut.removed
    assert cut.model.calls == 0
