"""Layer by layer: one convolution is masked, the network trains, and the next one's turn comes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import SGD

from ...archs.errors import nearest
from ..errors import AllocationError
from ..events import ConvMasked
from ..graph.channels import ChannelMap, Group
from ..selection.selection import Selection
from .hooks import ScheduleHooks
from .rows import MaskedRows, ids_on, masked_producers, silence, zero_gradients

SAY_MORE = "say more with `rate`, `compress_rate` or `flops`"


@dataclass(frozen=True, eq=False)
class Turn:
    """One convolution's turn: `number` of the `convs` that may lose filters, in forward order.

    A turn is a group's: convolutions whose outputs are added have theirs together.
    """

    number: int
    convs: int
    group: Group

    def masked(self, leaving: Iterable[int]) -> frozenset[int]:
        """The channels that are masked when it comes, out of all that leave."""
        return frozenset(leaving).intersection(self.group.channels.tolist())


def turns(channel_map: ChannelMap, selection: Selection, start_conv: str | None = None) -> tuple[Turn, ...]:
    """The turns of a selection, in forward order; a convolution that loses nothing gets none.

    Args:
        channel_map: of the network as pruning sees it.
        selection: what leaves the whole network.
        start_conv: the first that may lose filters, by name or by its number among those that take part.
    Raises:
        AllocationError: no such convolution, or nothing leaves from there on.
    """
    groups = [group for group in channel_map.groups if group.name in selection.counts and group.producers]
    first = 1 if start_conv is None else _number(start_conv, groups)
    due = [Turn(number, len(groups), group) for number, group in enumerate(groups, 1) if number >= first]
    due = [turn for turn in due if turn.masked(selection.removed)]
    if not due:
        where = "" if start_conv is None else f" from `start_conv` {start_conv} on"
        raise AllocationError(f"no filter leaves{where}; {SAY_MORE}")
    return tuple(due)


def _number(start_conv: str, groups: Sequence[Group]) -> int:
    number_of = {
        name: number
        for number, group in enumerate(groups, 1)
        for name in (group.name, *group.producers, str(number))
    }
    if start_conv in number_of:
        return number_of[start_conv]
    if start_conv.lstrip("-").isdecimal():
        raise AllocationError(
            f"`start_conv` {start_conv}: {len(groups)} convs of this network may lose filters; "
            f"give a number from 1 to {len(groups)}, or a name"
        )
    raise AllocationError(f"no conv '{start_conv}' may lose filters; {nearest(start_conv, number_of)}")


class LayersInTurn(ScheduleHooks):
    """The hooks of HRank's schedule.

    Lin et al., CVPR 2020, arXiv 2002.10179, as the authors train: what is masked stays zero, and
    the optimizer starts anew with every convolution.

    Departs from the authors' code: training goes on from a turn's last epoch, where theirs goes back to the
    one that did best on the test images; and a convolution that loses nothing is passed over.
    """

    def __init__(
        self,
        model: nn.Module,
        channel_map: ChannelMap,
        turns: Sequence[Turn],
        leaving: Iterable[int],
        macs: Callable[[Iterable[int]], int],
        epochs: int,
    ) -> None:
        """Steer the training of `model`, with `epochs` for each turn.

        Args:
            channel_map: of the model as pruning sees it.
            leaving: every channel that leaves in any turn.
            macs: what the network costs without some channels.
        """
        self._model, self._map = model, channel_map
        self._turns = tuple(turns)
        self._leaving = frozenset(leaving)
        self._macs, self._epochs = macs, epochs
        self._begun = 0  # turns
        self._held: list[MaskedRows] = []

    def before_epoch(self, epoch: int, optimizer: SGD) -> ConvMasked | None:
        """Begin the next turn where it is time."""
        position, epochs_in = divmod(epoch - 1, self._epochs)
        if epochs_in:
            return None
        optimizer.state.clear()
        self._mask(position + 1)
        turn = self._turns[position]
        return ConvMasked(
            epoch=epoch,
            number=turn.number,
            convs=turn.convs,
            name=turn.group.name,
            masked=len(turn.masked(self._leaving)),
            filters=len(turn.group.channels),
            macs_share=self._macs(self.masked) / self._macs(()),
        )

    def after_backward(self, step: int) -> None:
        """Keep what is masked at zero."""
        zero_gradients(self._held)

    def may_be_best(self, epoch: int) -> bool:
        """Only in the last turn is everything masked that leaves."""
        return epoch > (len(self._turns) - 1) * self._epochs

    def state_dict(self) -> dict[str, Any]:
        """The choice made at the start, and how many turns have begun."""
        return {"leaving": ids_on(self._leaving, self._model), "begun": self._begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take both back, and mask what was masked."""
        self._leaving = frozenset(state["leaving"].tolist())
        self._mask(state["begun"])

    def _mask(self, begun: int) -> None:
        self._begun = begun
        self.masked = frozenset().union(*(turn.masked(self._leaving) for turn in self._turns[:begun]))
        silence(self._model, self._map, self.masked)
        self._held = masked_producers(self._model, self._map, self.masked)
