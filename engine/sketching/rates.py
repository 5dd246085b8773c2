"""How wide sketches are: FilterSketch's own list of rates, by block or by convolution."""

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AllocationError
from ..selection.allocation import Allocation, Prunable
from ..selection.rates import parse_rates
from ..selection.selection import Scores, Selection
from .targets import targets, widths


@dataclass(frozen=True, kw_only=True)
class SketchRates(Allocation):
    """Shares kept of the convolutions that can be sketched; see `widths`.

    It says how many filters stay and not which, so it makes sense with the transfer `sketch` alone, and is
    none of the allocations that a user chooses from.

    Attributes:
        keep_rate: shares kept, `"[0.6]*27"`.
        start_conv: the place to begin with, or the name of a target there.
        skip: globs of convolutions to leave alone.
    """

    ways: ClassVar = (("keep_rate",),)
    needs_scores: ClassVar = False

    keep_rate: str
    start_conv: str = "1"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a malformed list, and residual modes in which streams leave: they are never sketched.

        Raises:
            AllocationError: names it.
        """
        super().__post_init__()
        parse_rates(self.keep_rate, keep=True)
        if self.residual != "internal":
            raise AllocationError(
                f"`residual` {self.residual} has no effect with `method` sketch; leave it out"
            )

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """Half of every convolution that can be sketched."""
        assert network.model is not None
        found, _ = targets(network.model, network.map, network.block_of)
        return cls(keep_rate=f"[0.5]*{len(found)}", start_conv="0")

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """As many channels of each target as its sketch has fewer, the last ones; of pinned targets, none.

        Raises:
            AllocationError: nothing can be sketched, or the list does not go with what can.
        """
        assert network.model is not None
        found, refused = targets(network.model, network.unpinned or network.map, network.block_of)
        if not found:
            name, reason = next(iter(refused.items()), ("the network", "it has no convolutions"))
            raise AllocationError(f"nothing in this network can be sketched: {name}: {reason}")
        wanted = widths(found, self.keep_rate, start=self.start_conv, skip=self.skip, others=refused)
        pinned, removed = network.map.pinned.keys(), frozenset[int]()
        counts: dict[str, tuple[int, int]] = {}
        for target, width in wanted.items():
            leaving = frozenset(target.maker.out_ids[width:].tolist())
            if not pinned.isdisjoint(leaving):
                leaving = frozenset[int]()
            removed |= leaving
            counts[target.name] = (target.filters - len(leaving), target.filters)
        return Selection(removed, counts, refused=refused)
