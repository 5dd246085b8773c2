"""From the options that say what leaves to the engine's allocation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.selection.allocation import Allocation


LIMITS = ("skip", "residual", "distance", "ranking", "round_to", "min_channels", "max_rate")


def specification(options: dict[str, Any]) -> "Allocation | None":
    """What a command's options ask for; None where none of them says how much is to leave.

    Args:
        options: the command's local variables; those that were not given are None.
    Raises:
        AllocationError: options that exclude each other, or deps that cannot be read.
    """
    from ..engine.allocations import allocation_of

    ways = ("rate_norm", "rate_dist", "flops", "params", "deps", "plan")
    given = _given(options, ("compress_rate", "keep_rate", "rate"))
    given |= {"layer_rates": options["layer_rate"]} | _given(options, ways)
    return allocation_of(given | limits(options))


def limits(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say where to stop, not how much is to leave."""
    return _given(options, LIMITS)


def _given(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) not in (None, [])}
