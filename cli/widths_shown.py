"""What every width of every layer costs, as `prune rank --sensitivity` shows it: numbers, and a curve."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from . import units
from .costs import counted, units_of
from .show import Out

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.graph.channels import ChannelMap

SHARES = (1 / 4, 1 / 2, 3 / 4)  # of the channels, that are gone
BARS = "▁▂▃▄▅▆▇█"
POINTS = 8  # of a curve


def check_criterion(criterion: str) -> None:
    """Refuse a criterion whose scores are no losses of widths.

    Raises:
        typer.BadParameter: it is one.
    """
    from ..engine.criteria import looks_at_groups

    if not looks_at_groups(criterion):
        raise typer.BadParameter(
            f"--sensitivity shows losses of widths, and criterion {criterion} gives none; "
            "use obs or obs-measured"
        )


def show_widths(show: Out, title: str, channel_map: "ChannelMap", scores: "Mapping[str, Tensor]") -> None:
    """A line for each layer whose channels may leave: its losses, and their course up to the least width."""
    losses = widths_of(channel_map, scores)
    most = max((mine[-1] for mine in losses.values()), default=0.0)
    columns = {
        "layer": str,
        "channels": units.as_printed,
        **{f"-{share:.0%}": units.real for share in SHARES},
    }
    sizes = {group.name: len(group.channels) for group in channel_map.groups}
    what = units_of(channel_map)
    rows = [
        [
            name,
            counted(sizes[name], what[name]),
            *(_at(mine, share * sizes[name]) for share in SHARES),
            _curve(mine, most),
        ]
        for name, mine in losses.items()
    ]
    show.table(title, {**columns, "loss by channels gone": str}, rows)
    show.note(
        "losses: KL divergence of the network's answers, nats per image, once what stays makes up for what "
        "is gone; each bar of a curve is sqrt(10) times the one below, the highest is the largest loss"
    )


def widths_of(channel_map: "ChannelMap", scores: "Mapping[str, Tensor]") -> dict[str, list[float]]:
    """Layer -> its loss with 0, 1, 2, ... channels gone, for layers whose channels may leave."""
    from ..engine.selection.least_loss import losses_of
    from ..engine.selection.selection import prunable_groups

    groups = prunable_groups(channel_map, "coupled")
    return {group.name: losses_of(channel_map, group, scores)[1].tolist() for group in groups}


def _at(losses: Sequence[float], gone: float) -> float | None:
    return losses[round(gone)] if round(gone) < len(losses) else None


def _curve(losses: Sequence[float], most: float) -> str:
    """A line of bars, the first with nothing gone, the last with all gone that can."""
    places = [round(i * (len(losses) - 1) / (POINTS - 1)) for i in range(POINTS)]
    top = len(BARS) - 1
    heights = [
        round(top + 2 * math.log10(losses[place] / most)) if losses[place] > 0 else 0 for place in places
    ]
    return "".join(BARS[max(0, height)] for height in heights)
