"""What networks cost and how many channels they have: tables for people, keys for machines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import units
from .show import Format, Out

if TYPE_CHECKING:
    from ..engine.graph.cost import Cost
    from ..engine.network.network import Network

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

Counts = Mapping[str, tuple[int, int]]  # name -> how many channels stay, and how many there were


def cost_facts(arch: str, cost: "Cost", baseline: "Cost") -> dict[str, Any]:
    """The stable keys under which every command states what a network costs."""
    return {
        "arch": arch,
        "macs": cost.macs,
        "params": cost.params,
        "baseline": {"macs": baseline.macs, "params": baseline.params},
        "layers": [
            {
                "name": layer.name,
                "in": layer.in_,
                "out": layer.out,
                "kernel": layer.kernel,
                "stride": layer.stride,
                "out_hw": layer.out_hw,
                "macs": layer.macs,
                "params": layer.params,
            }
            for layer in cost.layers
        ],
    }


def title_of(network: "Network") -> str:
    """A network by name, what part of it is looked at, and what it takes."""
    takes = f"images {units.shape(network.input_size)}" if network.input_size else f"{network.inputs}"
    return f"{network.arch}{f' {network.part}' if network.part else ''}, {takes}"


def show_groups(show: Out, title: str, counts: Counts, members: Mapping[str, Counts] | None = None) -> None:
    """A line per group of channels, and one for each of its layers where there are several.

    Args:
        show: where to.
        title: of the table.
        counts: by group.
        members: by group, those of its layers.
    """
    rows: list[list[object]] = []
    for name, (kept, full) in counts.items():
        layers = (members or {}).get(name, {})
        several = f"{name} and {len(layers) - 1} more:" if len(layers) > 1 else name
        rows.append([several, full, kept, 1 - kept / full])
        if len(layers) > 1:
            rows += [[f"  {layer}", wide, thin, 1 - thin / wide] for layer, (thin, wide) in layers.items()]
    show.table(title, GROUP_COLUMNS, rows)


def cost_cells(before: "Cost", after: "Cost") -> list[float]:
    """What the narrow network costs, as the middle columns of a summary have it."""
    return [after.macs, after.macs / before.macs - 1, after.params, after.params / before.params - 1]


def note_ignored(show: Out, ignored: Sequence[str]) -> None:
    """Say which convolutions' rates had no effect, if there are any."""
    if ignored:
        show.note(f"rates of {len(ignored)} convs have no effect, they are left alone: {', '.join(ignored)}")
