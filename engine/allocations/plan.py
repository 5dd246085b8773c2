"""A plan: the very channels that stay, of a file that can be read and edited, or in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from ..errors import AllocationError
from ..selection import plan as plans
from ..selection.allocation import Allocation, Prunable
from ..selection.plan import Plan
from ..selection.selection import Scores, Selection, group_counts


@dataclass(frozen=True, kw_only=True)
class Planned(Allocation):
    """Exactly the channels that a plan names stay.

    Attributes:
        plan: in memory, or the file it is in.
    """

    ways: ClassVar = (("plan",),)
    place: ClassVar = 70
    needs_scores: ClassVar = False

    plan: Plan | Path

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """See `Allocation`; the plan may also be a path as text, or all that it says as `plain` has it."""
        plan = settings["plan"]
        if isinstance(plan, Mapping):
            groups = {name: tuple(kept) for name, kept in plan["groups"].items()}
            plan = Plan(plan["arch"], plan["residual"], groups, plan.get("head_dims", False))
        return cls(**{**settings, "plan": plan if isinstance(plan, Plan) else Path(plan)})

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """The last channel of every second group with one to spare leaves."""
        spare = [group for group in network.map.groups if group.producers and group.free.sum() > 1]
        last = [group.channels[group.free][-1] for group in spare[::2]]
        return cls(plan=plans.plan_of(network.map, last, arch="", residual="internal"))

    def parts_streams(self, network: Prunable) -> bool:
        """See `Allocation`; a plan tells streams apart by naming both."""
        return not plans.given(self.plan).groups.keys() <= {group.name for group in network.map.groups}

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`.

        Raises:
            AllocationError: also a plan that cannot be read, or that does not go with the network.
        """
        removed = plans.apply(plans.given(self.plan), network.map)
        return Selection(removed, group_counts(network.map.groups, removed))

    def given(self) -> dict[str, Any]:
        """See `Allocation`; of a plan, where it is."""
        return {**super().given(), "plan": self._name}

    def plain(self) -> dict[str, Any]:
        """See `Allocation`; the plan with all it says, since its file may be gone when this is read."""
        plan = plans.given(self.plan)
        groups = {name: list(kept) for name, kept in plan.groups.items()}
        return {**super().plain(), "plan": {"arch": plan.arch, "residual": plan.residual, "groups": groups}}

    def for_arch(self, arch: str) -> Self:
        """This plan for a network of `arch`; it brings its own residual mode.

        Raises:
            AllocationError: a plan that cannot be read, or of another arch or residual mode.
        """
        plan = plans.given(self.plan)
        if plan.arch != arch and plan.arch and arch:  # a network in memory may have no name
            raise AllocationError(
                f"plan '{self._name}' is for arch '{plan.arch}', this network is '{arch}'; "
                "write its own with `plan_out`"
            )
        if self.residual not in (Planned.residual, plan.residual):
            raise AllocationError(
                f"plan '{self._name}' is for `residual` {plan.residual}, not {self.residual}; leave that out"
            )
        return replace(self, residual=plan.residual)

    @property
    def _name(self) -> str:
        return "in memory" if isinstance(self.plan, Plan) else str(self.plan)
