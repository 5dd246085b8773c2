"""Mask decisions against the authors' own, call by call, and against the rule written a second time."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from prune.engine.errors import AllocationError
from prune.engine.graph.channels import NO_ID
from prune.engine.masking.rule import MaskRule

Widths = NDArray[np.int64]


def authors_macs(deps: Widths) -> int:
    """What the authors count for src56: `deps` in their order, their 1x1 projections as 2x2."""
    width = iter(deps.tolist())
    stream = next(width)
    macs = 9 * 3 * stream * 32 * 32
    for stage, pixels in enumerate((32 * 32, 16 * 16, 8 * 8)):
        macs += 4 * stream * next(width) * pixels if stage else 0
        for _ in range(9):
            inner, outer = next(width), next(width)
            macs += 9 * (stream * inner + inner * outer) * pixels
            stream = outer
    return macs + stream * 10


class Golden:
    """One recorded course of mask decisions, and ours on the same norms."""

    def __init__(self, file) -> None:
        self.widths, self.convs, self.deps = file["widths"], file["conv_idx"], file["origin_deps"]
        self.metrics = np.broadcast_to(file["metric"], file["mask_after"].shape)
        self.file = file
        ends = np.cumsum(self.widths)
        self.rows = [np.arange(end - width, end) for width, end in zip(self.widths, ends, strict=True)]
        self.conv_of_row = np.repeat(self.convs, self.widths)
        self.target = float(file["flops_target"])
        self.rule = MaskRule(
            self.rows, lambda ids: authors_macs(self.deps_without(ids)), target=self.target, granularity=4
        )

    def deps_without(self, ids: NDArray[np.int64]) -> Widths:
        return self.deps - np.bincount(self.conv_of_row[ids], minlength=len(self.deps))

    def ours(self) -> Iterator[tuple[NDArray[np.bool_], int]]:
        active = np.ones(self.metrics.shape[1], dtype=bool)
        for norms in self.metrics:
            decided = self.rule.decide(norms, active)
            active = decided.active
            assert decided.masked == (~active).sum()
            yield active, decided.macs

    def by_hand(self) -> Iterator[NDArray[np.bool_]]:
        """The stated rule, one row after the other."""
        active = np.ones(self.metrics.shape[1], dtype=bool)
        allowed = self.target * authors_macs(self.deps)
        for norms in self.metrics:
            met = authors_macs(self.deps_without(np.flatnonzero(~active))) <= allowed
            most = len(norms) if met else int((~active).sum()) + 4
            left, leaving = dict(zip(self.convs.tolist(), self.widths.tolist(), strict=True)), []
            for _, row in sorted((norm, row) for row, norm in enumerate(norms)):
                if len(leaving) == most or authors_macs(self.deps_without(np.array(leaving, int))) <= allowed:
                    break
                conv = int(self.conv_of_row[row])
                if left[conv] > 1:
                    left[conv] -= 1
                    leaving.append(row)
            active = np.ones(len(norms), dtype=bool)
            active[leaving] = False
            yield active


@pytest.fixture(scope="module")
def recorded(golden):
    def load(case: str) -> Golden:
        with np.load(golden / "authors" / f"resrep_mask_{case}.npz") as file:
            return Golden(dict(file))

    return load


def test_the_count_is_the_authors(recorded):
    case = recorded("src56_fixed")
    counted = [authors_macs(deps) for deps in case.file["unmasked_deps"]]
    assert authors_macs(case.deps) == case.file["origin_flops"]
    assert counted == case.file["flops_of_unmasked_deps"].tolist()


@pytest.mark.parametrize(("name", "calls"), [("src56_fixed", 160), ("src56_identity", 3)])
def test_decisions_equal_the_authors(recorded, name: str, calls: int):
    case = recorded(name)
    decisions = list(case.ours())
    assert len(decisions) == calls
    for call, (active, macs) in enumerate(decisions):
        assert active.tolist() == case.file["mask_after"][call].astype(bool).tolist(), call
        assert (
            case.deps_without(np.flatnonzero(~active)).tolist() == case.file["unmasked_deps"][call].tolist()
        )
        assert macs == case.file["flops_of_unmasked_deps"][call]


@pytest.mark.parametrize("name", ["src56_fixed", "src56_changing", "src56_skip"])
def test_decisions_equal_the_rule_by_hand(recorded, name: str):
    case = recorded(name)
    for (active, _), expected in zip(case.ours(), case.by_hand(), strict=True):
        assert active.tolist() == expected.tolist()


def test_every_call_sets_all_masks_anew(recorded):
    """The norms change: the authors keep old masks and end with 85 rows masked, 12 calls of 4 are 48."""
    case = recorded("src56_changing")
    assert [int((~active).sum()) for active, _ in case.ours()] == list(range(4, 49, 4))
    assert (case.file["mask_after"][-1] == 0).sum() == 85


def test_passing_over_a_last_row_costs_nothing(recorded):
    """The authors stall at 124 rows masked; four more every call are 160."""
    case = recorded("src56_skip")
    masks = [active for active, _ in case.ours()]
    assert (~masks[-1]).sum() == 160
    assert (case.file["mask_after"][-1] == 0).sum() == 124
    assert min(active[rows].sum() for active in masks for rows in case.rows) == 1


def count_left(total: int):
    return lambda ids: total - len(ids)


def test_tied_rows_go_by_their_joint_norm_and_together():
    rule = MaskRule([np.array([0, 1, 2, 0, 1, 2])], count_left(3), target=2)
    decided = rule.decide(np.array([3.0, 1.0, 2.0, 4.0, 5.5, 2.0]), np.ones(6, bool))
    assert decided.active.tolist() == [True, True, False, True, True, False]  # 5, 5.6 and 2.8
    assert (decided.masked, decided.macs) == (1, 2)


def test_pinned_rows_stay_and_count_as_the_row_that_must():
    free, pinned = np.array([7, 8]), np.array([3, NO_ID, 5])
    rule = MaskRule([free, pinned], count_left(5), target=2, pinned=[3])
    decided = rule.decide(np.array([2.0, 1.0, 0.0, 0.0, 9.0]), np.ones(5, bool))
    assert decided.active.tolist() == [True, False, True, True, False]
    with pytest.raises(AllocationError, match=r"still has 3 MACs, 0\.600 of 5"):
        rule.require_reachable()


def test_targets_in_reach_are_let_through_and_others_name_the_minimum():
    rows = [np.arange(4), np.arange(4, 8)]
    MaskRule(rows, count_left(8), target=2).require_reachable()
    MaskRule(rows, count_left(8), target=0.25).require_reachable()
    with pytest.raises(
        AllocationError, match=r"flops target 2 is out of reach: .* 2 compactors .* still has 2 MACs"
    ):
        MaskRule(rows, count_left(8), target=0.249).require_reachable()
