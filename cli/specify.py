"""From the options that say what leaves to the engine's specification."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.allocations.specification import Specification


LIMITS = ("skip", "residual", "distance", "ranking", "round_to", "min_channels", "max_rate")


def specification(options: dict[str, Any]) -> "Specification | None":
    """What a command's options ask for; None where none of them says how much is to leave.

    Args:
        options: the command's local variables; those that were not given are None.
    Raises:
        AllocationError: options that exclude each other, or deps that cannot be read.
    """
    from ..engine.allocations.deps import read_deps
    from ..engine.allocations.specification import Specification

    ways = ("compress_rate", "keep_rate", "rate", "rate_norm", "rate_dist", "flops", "params", "plan")
    given = _given(options, ways)
    if options["layer_rate"]:
        given["layer_rates"] = tuple(options["layer_rate"])
    if options["deps"] is not None:
        given["deps"] = read_deps(options["deps"])
    return Specification(**given, **limits(options)) if given else None


def limits(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say where to stop, not how much is to leave."""
    given = _given(options, LIMITS)
    return given | ({"skip": tuple(given["skip"])} if "skip" in given else {})


def _given(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) not in (None, [])}
