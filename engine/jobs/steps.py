"""A budget in several steps: how far each of them goes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..allocations.budget import Budget, absolute
from ..graph.cost import Cost
from ..selection.removal_order import Limits


@dataclass(frozen=True, kw_only=True)
class StepBudget(Budget):
    """The budget of one step, in numbers.

    Attributes:
        whole: channels of every group before the first step, by name: what `max_rate` is a share of.
    """

    whole: Mapping[str, int] = field(default_factory=dict)

    def limits(self) -> Limits:
        """See `Budget`."""
        return replace(super().limits(), whole=self.whole)

    def given(self) -> dict[str, Any]:
        """See `Allocation`; widths of another network are no settings of this one's history."""
        return {name: value for name, value in super().given().items() if name != "whole"}


@dataclass(frozen=True)
class Course:
    """The way to a budget.

    It is geometric: every step leaves the same share of what it finds, so none is harsher than the others,
    and a way that is gone on with from the network of a step leads over the same budgets.

    Attributes:
        budget: where it leads.
        steps: how many there are.
        before: what one image costs at the start.
        whole: channels of every group there, by name.
    """

    budget: Budget
    steps: int
    before: Cost
    whole: Mapping[str, int] = field(default_factory=dict)

    def budget_from(self, macs: int, params: int, left: int) -> StepBudget:
        """The budget of the next step.

        Args:
            macs: of the network as it is by now.
            params: likewise.
            left: how many steps there are still, this one included.
        """
        settings = asdict(self.budget)
        for name, now, first in (("flops", macs, self.before.macs), ("params", params, self.before.params)):
            if settings[name] is not None:
                settings[name] = _next(now, math.floor(absolute(settings[name], first)), left)
        return StepBudget(**settings, whole=self.whole)

    def forecast(self) -> Iterator[StepBudget]:
        """The budgets of all steps, if each network were to cost just what it may."""
        macs, params = self.before.macs, self.before.params
        for left in range(self.steps, 0, -1):
            step = self.budget_from(macs, params, left)
            yield step
            macs, params = int(step.flops or macs), int(step.params or params)

    def still_to_do(self, done: int) -> dict[str, int]:
        """The settings that lead on from the network of a step: the budget in numbers, and the steps left."""
        last = self.budget_from(self.before.macs, self.before.params, 1)
        targets = {"flops": last.flops, "params": last.params}
        numbers = {name: int(target) for name, target in targets.items() if target is not None}
        return {**numbers, "steps": self.steps - done}

    def in_words(self, number: int, step: StepBudget) -> str:
        """What a step does: "step 1 of 2: to 70.7% of the MACs"."""
        pairs = {"MACs": (step.flops, self.before.macs), "params": (step.params, self.before.params)}
        shares = [f"{may / first:.1%} of the {what}" for what, (may, first) in pairs.items() if may]
        return f"step {number} of {self.steps}: to {' and '.join(shares)}"


def _next(now: int, target: int, left: int) -> int:
    """What a network that costs `now` may cost after the next of so many steps."""
    if left == 1 or target >= now:
        return target
    return math.floor(now * (target / now) ** (1 / left))
