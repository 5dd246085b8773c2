"""What schedules with masks do before they train: choose, and try it out on a copy."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

from ..errors import AllocationError, TrainingError
from ..events import Event
from ..graph.channels import ChannelMap
from ..narrowing.chooser import Chooser
from ..narrowing.narrowing import left_alone, narrow_as_planned
from ..selection.selection import Selection
from .turns import SAY_MORE


@dataclass(frozen=True, eq=False)
class Trial:
    """A first choice that was cut out.

    Attributes:
        map: the network's channels as pruning sees them, what cannot be cut out pinned.
        notes: what a user should know.
    """

    map: ChannelMap
    selection: Selection
    notes: tuple[str, ...]


def trying(chooser: Chooser) -> Generator[Event, None, Trial]:
    """Choose by the weights at the start, and cut it out of a copy: what cannot be cut out gets pinned.

    Raises:
        AllocationError: the allocation cannot be met.
        ProofError: a copy of the network is not the same network.
    """
    network, seen = chooser.network, chooser.seen
    choice = chooser.choice(network.model, (yield from chooser.score(network.model)))
    planned = narrow_as_planned(seen.model, seen.traced, network.takes, choice)
    selection = replace(choice.selection, removed=planned.removed)
    return Trial(planned.map, selection, (*chooser.notes, *left_alone(planned.misfits)))


def refuse_nothing(leaving: Iterable[int]) -> None:
    """A run in which no filter leaves is none.

    Raises:
        AllocationError: nothing is in `leaving`.
    """
    if not frozenset(leaving):
        raise AllocationError(f"no filter leaves; {SAY_MORE}")


def refuse_norms(chooser: Chooser, schedule: str) -> None:
    """While a network trains, masked filters are part of statistics that the narrow one takes without them.

    Raises:
        TrainingError: channels may leave norms over all of them.
    """
    if chooser.network.through_norms:
        raise TrainingError(
            f"`through_norms` has no meaning with `schedule` {schedule}: filters that are masked while the "
            "network trains are still part of the statistics of norms over all channels; leave out "
            "`through_norms`, or prune at once (`schedule` one-shot) and finetune"
        )
