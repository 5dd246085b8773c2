"""The columns in which `prune prune` states its results, whatever the method."""

from . import units
from .show import Format

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
