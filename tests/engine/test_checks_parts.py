"""What the two proofs are made of, part by part: what no network of the other tests would tell apart."""

import copy
import weakref
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from prune.archs.units import PadShortcut
from prune.engine.errors import ProofError
from prune.engine.graph.channels import NO_ID, Axis, Role
from prune.engine.graph.ids import Value
from prune.engine.graph.records import NodeRecord
from prune.engine.graph.trace import trace
from prune.engine.modules.fit import fit
from prune.engine.narrowing import narrowing, structure, values
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.narrowing.structure import structure_misfit
from prune.engine.narrowing.surgery import masked_index, narrow
from prune.engine.narrowing.values import value_difference
from torch import Tensor, nn

SIZE = (3, 8, 8)
INF, NAN = float("inf"), float("nan")


class TestDifference:
    @pytest.mark.parametrize(
        ("a", "b", "far"),
        [
            ([1.0, -4.0], [1.0, -3.0], 0.25),
            ([1.0, -INF], [1.0, -INF], 0.0),  # as attention masks
            ([2.0, INF], [1.0, INF], 0.5),
            ([3, 5], [3, 5], 0.0),
            ([3, 5], [3, 6], 1.0),
            ([True, False], [True, True], 1.0),
            ([], [], 0.0),
        ],
    )
    def test_how_far(self, a: list[Any], b: list[Any], far: float):
        assert values._difference(torch.tensor(a), torch.tensor(b), "x") == far

    @pytest.mark.parametrize(
        ("a", "b"),
        [([1.0, NAN], [1.0, 1.0]), ([1.0, 1.0], [1.0, NAN]), ([1.0, INF], [1.0, 2.0]), ([INF], [-INF])],
    )
    def test_what_is_not_finite_in_one_of_two_is_not_taken_for_equal(self, a: list[float], b: list[float]):
        with pytest.raises(ProofError, match="x is not finite"):
            values._difference(torch.tensor(a), torch.tensor(b), "x")

    def test_another_shape_is_no_other_number(self):
        with pytest.raises(ProofError, match=r"^x has shape \(2, 1\) when narrow, not \(2, 3\)$"):
            values._difference(torch.ones(2, 3), torch.ones(2, 1), "x")


class Answering(nn.Module):
    """A convolution, and whatever is made of its answer."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.conv, self.answer = nn.Conv2d(3, 4, 1), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.conv(x))


class TestValues:
    def difference(self, wide: Any, thin: Any) -> float:
        model = Answering(lambda y: y).eval()
        traced = trace(model, SIZE)
        pair = [copy.deepcopy(model) for _ in range(2)]
        for one, answer in zip(pair, (wide, thin), strict=True):
            one.answer = answer
        return value_difference(pair[0], pair[1], traced, [], torch.ones(1, *SIZE))

    def test_nothing_is_proven_of_a_network_that_returns_no_tensor(self):
        with pytest.raises(ProofError, match="returns no tensor"):
            self.difference(lambda y: (), lambda y: ())

    def test_answers_that_one_of_the_two_lacks_are_not_passed_over(self):
        with pytest.raises(ValueError, match="shorter"):
            self.difference(lambda y: (y, y), lambda y: (y,))

    def test_every_answer_counts(self):
        assert self.difference(lambda y: (y, y), lambda y: (y, 2 * y)) == 1.0

    def test_operations_keep_their_keywords_while_they_are_recorded(self):
        model = Answering(lambda y: torch.add(y, y, alpha=2)).eval()
        images_NCHW = torch.ones(1, *SIZE)
        given = (model, trace(model, SIZE), images_NCHW, None)
        made, (returned,) = values._run(*given, lambda name, call, made: (name, call, made.clone()))
        ((name, call, convolved),) = made[values.CONVS]
        assert (name, call) == (values.CONVS, 0)
        assert torch.equal(convolved, model.conv(images_NCHW))
        assert torch.equal(returned, 3 * convolved)

    def test_a_convolution_that_one_of_the_two_lacks_is_not_passed_over(self):
        again = nn.Conv2d(4, 4, 1)
        with pytest.raises(ProofError, match="convolves 1 times, the masked one 2 times"):
            self.difference(again, lambda y: y)

    def test_what_is_changed_in_place_behind_a_layer_is_compared_as_it_was_made(self):
        assert self.difference(lambda y: y.mul_(2), lambda y: y.mul_(2)) == 0.0

    def test_convolutions_that_no_graph_shows_are_passed_over_in_both(self):
        again = nn.Conv2d(4, 4, 1)
        assert self.difference(again, again) == 0.0

    @pytest.mark.parametrize("layer", [partial(nn.Conv2d, 3, 3, 1), partial(nn.Linear, 8, 8)])
    def test_what_the_masked_network_makes_is_compared_and_forgotten(self, layer: Any):
        wide = nn.Sequential(*(layer() for _ in range(4))).eval()
        made, alive = list[weakref.ref[Tensor]](), list[int]()

        def look(module: nn.Module, given: Any, output: Tensor) -> None:
            alive.append(sum(one() is not None for one in made))
            made.append(weakref.ref(output))

        traced, thin = trace(wide, SIZE), copy.deepcopy(wide)
        for module in wide:
            module.register_forward_hook(look)
        assert value_difference(wide, thin, traced, [], torch.ones(1, *SIZE)) == 0.0
        assert alive == [0, 1, 1, 1]  # what a layer is given, and nothing of those before


class Blocks(nn.Module):
    """Three convolutions side by side; `freeze` goes into a module of each answer, one after the other."""

    def __init__(self, freeze: Any) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 1) for _ in range(3))
        self.after = nn.ModuleList(freeze() for _ in range(3))
        self.ends = nn.ModuleList(nn.Conv2d(8, 2, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        made = [conv(x) for conv in self.convs]
        made = [block(y) for block, y in zip(self.after, made, strict=True)]
        return torch.cat([end(y) for end, y in zip(self.ends, made, strict=True)], 1)


class Scaled(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return y * (y.shape[1] / 8)


def misfit_of(model: nn.Module, *layers: str) -> Any:
    traced = trace(model, SIZE)
    ids = {layer: traced.map.layer(layer).out_ids for layer in layers}
    removed = [int(i) for of_layer in ids.values() for i in of_layer[:2]]
    thin = fit(copy.deepcopy(model), narrow(model.state_dict(), traced.map, removed))
    return structure_misfit(traced, trace(thin, SIZE), removed), ids


class TestMisfits:
    def test_the_same_line_in_other_modules_is_told_of_where_it_fails_too(self):
        misfit, ids = misfit_of(Blocks(Scaled).eval(), "convs.0", "convs.1")
        assert misfit.reason.startswith("mul in after.0 computes with the number of channels")
        assert misfit.ids.tolist() == [*ids["convs.0"], *ids["convs.1"]]  # and not those of the third

    def test_what_left_before_an_op_that_has_no_channels_is_to_blame(self):
        class Counting(Blocks):
            def forward(self, x: Tensor) -> Tensor:
                y = self.convs[0](x)
                return (
                    self.ends[0](self.convs[1](x)).mean((1, 2, 3))
                    + self.ends[1](y).mean((1, 2, 3)) * y.shape[1]
                )

        misfit, ids = misfit_of(Counting(nn.Identity).eval(), "convs.0")
        assert misfit.reason.startswith("mul in the top module computes with the number of channels")
        assert misfit.ids.tolist() == ids["convs.0"].tolist()

    def test_what_left_behind_an_op_on_the_images_is_to_blame(self):
        class Counting(Blocks):
            def forward(self, x: Tensor) -> Tensor:
                return self.ends[0](self.convs[0](x * self.convs[0].weight.shape[0]))

        misfit, ids = misfit_of(Counting(nn.Identity).eval(), "convs.0")
        assert misfit.reason.startswith("mul in the top module computes with the number of channels")
        assert misfit.ids.tolist() == ids["convs.0"].tolist()


def record(op: str = "mul", module: str = "one", line: str = "net.py:1", ids: Any = (NO_ID,)) -> NodeRecord:
    return NodeRecord(f"{op}_{module}", op, module, Value((1, len(ids)), np.array([ids])), (), line=line)


class TestWords:
    @pytest.mark.parametrize(
        ("other", "same"),
        [
            (record(module="two"), True),
            (record(), False),
            (record("add", "two"), False),
            (record(module="two", line="net.py:2"), False),
        ],
    )
    def test_the_same_code_is_the_same_line_in_another_module(self, other: NodeRecord, same: bool):
        assert structure._same_code(record(), other) is same
        assert structure._same_code(other, record()) is same

    def test_code_of_no_known_line_is_like_no_other(self):
        assert not structure._same_code(record(line=""), record(module="two", line=""))

    @pytest.mark.parametrize(
        ("full", "narrow", "found"),
        [
            (["conv", "relu", "view", "mean"], ["conv", "view", "mean"], "relu"),
            (["conv", "relu", "view"], ["conv", "relu"], "view"),
            (["conv", "relu"], ["conv", "relu", "view"], "relu"),
            (["conv", "relu", "view"], ["conv", "mul", "view"], "relu"),
        ],
    )
    def test_other_code_begins_where_the_full_network_leaves_the_narrow_one(
        self, full: list[str], narrow: list[str], found: str
    ):
        reason = structure._other_code([record(op) for op in full], [record(op) for op in narrow])
        assert f"from {found} in one" in reason
        assert reason.place is not None
        assert reason.place.op == found


class TestIds:
    @pytest.mark.parametrize(("of_axes", "of_records"), [([0, 1, 2], [0, 1, 7]), ([0, 1, 7], [0, 1, 2])])
    def test_ids_of_the_narrow_network_are_found_wherever_they_are_highest(
        self, of_axes: list[int], of_records: list[int]
    ):
        """Zeros that code writes are in no parameter; what one reads may be in no tensor that counts."""
        axes = {"w": (Axis(0, np.array([4, 5, 6, 9]), Role.PRODUCES),)}
        narrow_axes = {"w": (Axis(0, np.array(of_axes), Role.PRODUCES),)}
        narrow = SimpleNamespace(
            map=SimpleNamespace(axes=narrow_axes, axes_of=narrow_axes.get), records=[record(ids=of_records)]
        )
        gone = np.zeros(11, dtype=bool)
        gone[5] = True
        table = structure._correspondence(SimpleNamespace(map=SimpleNamespace(axes=axes)), narrow, gone)
        assert table[of_axes].tolist() == [4, 6, 9]
        assert set(table[of_records]) <= {4, 6, 9, NO_ID}
        assert table[NO_ID] == NO_ID

    @pytest.mark.parametrize(("left", "alone"), [(1, [7]), (2, []), (8, [])])
    def test_a_channel_is_alone_where_one_of_its_group_is_left(self, left: int, alone: list[int]):
        traced = trace(Blocks(nn.Identity).eval(), SIZE)
        ids = traced.map.layer("convs.0").out_ids
        gone = traced.map.removal_mask(ids[: 8 - left].tolist())
        assert structure._alone(traced, gone).tolist() == ids[alone].tolist()


@pytest.mark.parametrize("bias", [False, True])
def test_the_values_are_proven_without_a_copy_of_either_network(monkeypatch: pytest.MonkeyPatch, bias: bool):
    monkeypatch.delattr(narrowing, "computing_in")
    ends = nn.Conv2d(3, 8, 1, bias=bias), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 2, 1, bias=bias)
    model = nn.Sequential(*ends, nn.Flatten(), nn.Linear(128, 3, bias=bias)).eval()
    cut = narrow_proven(model, trace(model, SIZE), SIZE, lambda m: m.layer("0").out_ids[:3])
    assert len(cut.removed) == 3
    assert cut.difference < 1e-12


def test_ids_are_pinned_once_and_what_has_no_id_never():
    channel_map = trace(Blocks(nn.Identity).eval(), SIZE).map
    first, second, *_ = channel_map.layer("convs.0").out_ids.tolist()
    pinned = channel_map.pin(np.array([first]), "one").pin(np.array([NO_ID, first, second]), "two")
    assert {i: pinned.pinned.get(i) for i in (NO_ID, first, second)} == {
        NO_ID: None,
        first: "one",
        second: "two",
    }
    group = next(group for group in pinned.groups if "convs.0" in group.producers)
    assert dict(group.pinned) == {first: "one", second: "two"}


def test_masks_leave_the_index_of_a_shortcut_that_keeps_its_channels():
    class Widening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.shortcut = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1), PadShortcut(4, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return (self.two(x) + self.shortcut(self.one(x))).relu().mean((2, 3))

    model = Widening().eval()
    channel_map = trace(model, SIZE).map
    (index,) = channel_map.indices
    read_alone = channel_map.removal_mask(channel_map.layer("one").out_ids[:1].tolist())
    assert masked_index(index, channel_map, read_alone) is None
