"""The columns in which `prune prune` states its results, whatever the method."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import units
from .show import Format, Out

if TYPE_CHECKING:
    from ..engine.cost import Cost
    from ..engine.events import Accuracy

GROUP_COLUMNS: dict[str, Format] = {
    "layer": str,
    "channels": units.count,
    "kept": units.count,
    "removed": units.percent,
}
SUMMARY_COLUMNS: dict[str, Format] = {
    "": str,
    "MACs": units.large,
    "ΔMACs": units.percent_change,
    "params": units.count,
    "Δparams": units.percent_change,
    "top-1": units.accuracy,
}


def show_costs(
    show: Out,
    before: "Cost",
    after: "Cost",
    accuracies: Mapping[str, "Accuracy"],
    stages: Mapping[str, str],
) -> None:
    """The network before and after: one line per stage in words -> its accuracy in `accuracies`.

    The first stage is shown in any case, the others where they were measured.
    """
    tops = {stage: accuracy.top1 for stage, accuracy in accuracies.items()}
    change = [after.macs, after.macs / before.macs - 1, after.params, after.params / before.params - 1]
    rows = [["before", before.macs, None, before.params, None, tops.get("before")]]
    for number, (words, stage) in enumerate(stages.items()):
        if number == 0 or stage in tops:
            rows.append([words, *change, tops.get(stage)])
    show.table("", SUMMARY_COLUMNS, rows)
