"""What `prune inspect --channels` shows: groups of channels, what holds them, and how much can leave."""

from collections.abc import Iterable
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import typer

from . import units
from .costs import title_of
from .show import Format, Out
from .spelling import as_typed

if TYPE_CHECKING:
    from ..engine.narrowing.reach import GroupReach, Reach
    from ..engine.network.network import Network


GROUP_COLUMNS: dict[str, Format] = {
    "group": str,
    "channels": units.as_printed,
    "may leave": units.as_printed,
    "stream": units.as_printed,
    "held by": units.as_printed,
}
MODE_COLUMNS: dict[str, Format] = {
    "residual": str,
    "least MACs": units.large,
    "can leave": units.percent,
    "least params": units.count,
}
STREAM = (
    "stream: outputs of several layers are added into it; `residual` internal leaves it alone. "
    "Least: with one channel left in every group that may lose all but one."
)


def show_channels(show: Out, network: "Network", pattern: str) -> None:
    """Show what can leave a network, of the groups that match `pattern` or one of whose members does.

    Raises:
        typer.BadParameter: it matches none.
        TraceError: the network cannot be followed.
    """
    from ..engine.narrowing.reach import reaching

    found: Reach = show.progress(reaching(network))
    groups = [
        group
        for group in found.groups
        if any(fnmatchcase(name, pattern) for name in (group.name, *group.members))
    ]
    if not groups:
        raise typer.BadParameter(f"'{pattern}' matches no layer of this network", param_hint="--filter")
    show.json(_facts(network, found, groups))
    reasons = list(dict.fromkeys(hold.reason for group in groups for hold in group.holds))
    number = {reason: place for place, reason in enumerate(reasons, 1)}
    rows: list[list[Any]] = []
    for group in groups:
        several = len(group.members) > 1
        title = f"{group.name} and {len(group.members) - 1} more:" if several else group.name
        held = " ".join(f"[{number[hold.reason]}]" for hold in group.holds)
        counts = (units.count(group.channels), units.count(group.free))
        rows.append([title, *counts, "yes" if group.stream else "", held])
        if several:
            rows += [[f"  {member}", "", "", "", ""] for member in group.members]
    what = "group" if len(groups) == 1 else "groups"
    show.table(f"{title_of(network)}: {len(groups)} {what} of channels", GROUP_COLUMNS, rows)
    if reasons:
        show.facts({f"[{number[reason]}]": _told(reason, groups) for reason in reasons})
    show.table(
        "",
        MODE_COLUMNS,
        [[mode, least.macs, least.share, least.params] for mode, least in found.modes.items()],
    )
    for line in found.notes:
        show.note(line)
    show.footnote(STREAM)


def _told(reason: str, groups: "Iterable[GroupReach]") -> str:
    """A reason, how many channels it holds, and the way out."""
    holds = [hold for group in groups for hold in group.holds if hold.reason == reason]
    held = sum(hold.channels for hold in holds)
    way_out = f"; {as_typed(holds[0].way_out)}" if holds[0].way_out else ""
    return f"{reason} ({units.count(held)} channels){way_out}"


def _facts(network: "Network", found: "Reach", groups: "Iterable[GroupReach]") -> dict[str, Any]:
    """The facts for machines."""
    return {
        "arch": network.arch,
        "part": network.part,
        "takes": str(network.inputs or units.shape(network.input_size)),
        "macs": found.before.macs,
        "params": found.before.params,
        "groups": [asdict(group) for group in groups],
        "reach": {mode: asdict(least) for mode, least in found.modes.items()},
        "notes": found.notes,
    }
