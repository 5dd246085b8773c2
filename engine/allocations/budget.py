"""Budgets: just enough channels leave, of multiply-accumulates, of parameters, or of both."""

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Ids
from ..graph.cost import Counter
from ..selection.allocation import GroupAllocation, Prunable
from ..selection.amounts import perhaps_meant
from ..selection.least_loss import of_least_loss
from ..selection.reach import reach_in_words
from ..selection.removal_order import Limits, Ranking, RemovalOrder, first_length
from ..selection.selection import Scores, Selection, check_choice, equal_scores


@dataclass(frozen=True, kw_only=True)
class Budget(GroupAllocation):
    """The largest network of a removal order that keeps within a budget; see `RemovalOrder`.

    Attributes:
        flops: multiply-accumulates per image: up to 1 the share of the original that remains, above 1 a
            number.
        params: parameters, likewise. Both may be given.
        ranking: compare scores within (`local`) or across (`global`) groups; or take them for losses (`loss`)
            and choose the widths whose losses add up to least, see `engine.selection.least_loss`.
        round_to: the number of channels that stay is rounded up to a multiple; a narrower group stays whole.
        max_rate: no larger share of a group leaves.
    """

    ways: ClassVar = (("flops", "params"),)
    place: ClassVar = 10
    widths_depend_on_scores: ClassVar = True

    flops: float | None = None
    params: float | None = None
    ranking: Ranking = "local"
    round_to: int = Limits.round_to
    max_rate: float = Limits.max_rate

    def __post_init__(self) -> None:
        """Refuse what `Allocation` does, no target or one that is not positive, and odd limits."""
        super().__post_init__()
        check_choice("ranking", self.ranking, Ranking)
        if self.flops is None and self.params is None:
            raise AllocationError("a budget needs a target: `flops`, `params`, or both")
        for name, target in (("flops", self.flops), ("params", self.params)):
            if target is not None and not target > 0:
                raise AllocationError(
                    f"{name} target {target:g} is not positive; give a share such as 0.5, or a number"
                )
        self.limits()

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """The first tenth of the multiply-accumulates, in whatever network."""
        return cls(flops=0.9)

    @classmethod
    def offers(cls) -> tuple[str, ...]:
        """See `Allocation`; either target is a way."""
        return ("`flops`", "`params`")

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`.

        Raises:
            AllocationError: also a target out of reach; the message says what is in reach and which limits
                hold it.
        """
        order = self._order(network, scores)
        targets = _Targets(network.map, self.flops, self.params)
        if self.ranking == "loss":
            chosen = of_least_loss(network.map, order.groups, scores, targets.most, order.limits)
        else:
            length = first_length(order, targets.met_without)
            chosen = None if length is None else order.selection(length)
        if chosen is None:
            raise AllocationError(self._out_of_reach(network.map, order, targets))
        return chosen

    def check(self, network: Prunable) -> None:
        """See `Allocation`; whether the target is in reach, by the smallest network alone."""
        order = self._order(network, equal_scores(network.map))
        targets = _Targets(network.map, self.flops, self.params)
        if not targets.met_without(order.removed(len(order))):
            raise AllocationError(self._out_of_reach(network.map, order, targets))

    def _order(self, network: Prunable, scores: Scores) -> RemovalOrder:
        groups = self.groups(network)
        return RemovalOrder(network.map, groups, scores, ranking=self.ranking, limits=self.limits())

    def limits(self) -> Limits:
        """How far a group may be narrowed."""
        return Limits(self.min_channels, self.max_rate, self.round_to)

    def _out_of_reach(self, channel_map: ChannelMap, order: RemovalOrder, targets: "_Targets") -> str:
        """What is missed, what holds it, and how far other settings would go."""
        meant = "".join(perhaps_meant(most) for most in targets.most)
        reach = reach_in_words(channel_map, self.residual)
        return f"{_missed(channel_map, order, targets)}; {reach}{meant}"


class _Targets:
    """What a network may cost, in multiply-accumulates and parameters.

    Attributes:
        whole: what the full network costs.
        most: what the narrow one may; infinite where nobody says.
    """

    def __init__(self, channel_map: ChannelMap, *targets: float | None) -> None:
        self._counter = Counter(channel_map)
        self.whole = self._counter.totals(())
        macs, params = (absolute(*pair) for pair in zip(targets, self.whole, strict=True))
        self.most = (macs, params)

    def cost_without(self, removed: Ids) -> tuple[int, int]:
        """What the network costs without these channels."""
        return self._counter.totals(removed)

    def met_without(self, removed: Ids) -> bool:
        """Does the network keep within the budget without these channels?"""
        return all(cost <= most for cost, most in zip(self.cost_without(removed), self.most, strict=True))


def absolute(target: float | None, whole: int) -> float:
    """A target as a number: up to 1 it is a share of the whole; infinite where nobody says."""
    if target is None:
        return float("inf")
    return target * whole if target <= 1 else target


def _missed(channel_map: ChannelMap, order: RemovalOrder, targets: _Targets) -> str:
    smallest = targets.cost_without(order.removed(len(order)))
    missed = [
        f"{name} target {target:,.0f} is out of reach: the smallest network has {least:,}, "
        f"{least / most:.3f} of {most:,}"
        for name, most, least, target in zip(
            ("flops", "params"), targets.whole, smallest, targets.most, strict=True
        )
        if least > target
    ]
    limits = [f"{bound} ({count} groups)" for bound, count in order.bounds.most_common()]
    if order.limits.round_to > 1:
        limits.append(f"round-to {order.limits.round_to}")
    alone = sum(bool(group.producers) for group in channel_map.groups) - len(order.groups)
    if alone:
        limits.append(f"{alone} groups left alone (residual streams, skipped or pinned)")
    return f"{'; '.join(missed)}; held by {', '.join(limits)}"
