"""How many channels leave each layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...engine.allocations import allocation_of
from ...engine.errors import AllocationError
from ...engine.selection import amounts
from .group import SHARE, After, Group, option, setting

if TYPE_CHECKING:
    from ...engine.selection.allocation import Allocation


def budget(text: str) -> float:
    """Read a budget: a share of the full network (`0.5`, `50%`) or an absolute count (`60M`, `1.2G`).

    Raises:
        typer.BadParameter: it is neither, or not above zero.
    """
    try:
        return amounts.amount(text)
    except AllocationError as error:
        raise typer.BadParameter(str(error)) from error


Residual = Annotated[
    Literal["internal", "coupled", "scatter"] | None,
    option(
        "What leaves",
        "--residual",
        None,
        "Channels added into a residual stream: kept, removed from the whole stream, or removed from this "
        "branch alone. Default: internal.",
    ),
]


@dataclass(frozen=True)
class Amount(Group, panel="What leaves"):
    """What leaves, without a word on which filters do."""

    compress_rate: str | None = setting("RATES", "Share removed of each conv, HRank's way: '[0.1]+[0.6]*35'.")
    keep_rate: str | None = setting("RATES", "Share kept of each conv, FilterSketch's way: '[0.6]*27'.")
    rate: float | None = setting("SHARE", "Share removed of every layer.", **SHARE)
    layer_rate: list[str] | None = setting(
        "NAME=SHARE", "Share removed of layers by name or glob: 'stage3.*=0.7'. Repeatable."
    )
    rate_norm: float | None = setting("SHARE", "FPGM: share kept by norm, before distances count.", **SHARE)
    rate_dist: float | None = setting("SHARE", "FPGM: share removed by distance.", **SHARE)
    distance: Literal["l2", "l1", "cosine"] | None = setting(
        None, "FPGM: what --rate-dist measures between filters. Default: l2."
    )
    flops: float | None = setting(
        "BUDGET",
        "Multiply-accumulates to keep: a share (0.5, 50%) or 60M.",
        also="--flops-target",
        parser=budget,
    )
    params: float | None = setting("BUDGET", "Parameters to keep: a share (0.5, 50%) or 0.4M.", parser=budget)
    skip: list[str] | None = setting("GLOB", "Leave matching layers alone: 'conv1'. Repeatable.")
    residual: Residual = None
    round_to: int | None = setting("N", "Keep multiples of N channels. Default: 1.", min=1)
    min_channels: int | None = setting("N", "Keep at least N channels per layer. Default: 1.", min=1)
    max_rate: float | None = setting("SHARE", "Remove at most this share of a layer. Default: 0.9.", **SHARE)
    deps: str | None = setting(
        "WIDTHS|FILE", "Width of each conv, ResRep's way: '16,10,16,...' or an .hdf5 with deps."
    )
    plan: Path | None = setting("FILE", "Keep exactly the channels this plan names.")

    def settings(self) -> dict[str, Any]:
        """What was said, by the engine's names."""
        said = super().settings()
        return {"layer_rates" if name == "layer_rate" else name: value for name, value in said.items()}

    def allocation(self) -> "Allocation | None":
        """What was asked for; None where nothing says how much is to leave.

        Raises:
            AllocationError: options that exclude each other or have no effect, or that cannot be read.
        """
        return allocation_of(self.settings())


@dataclass(frozen=True)
class RankedAmount(Amount):
    """What leaves, where filters are ranked too."""

    ranking: Literal["local", "global", "loss"] | None = setting(
        None,
        "Compare scores in a layer, or over all layers; or take them for losses (obs) and keep their sum "
        "least. Default: local.",
        After("params"),
    )
    residual: Annotated[Residual, After("max_rate")] = None


@dataclass(frozen=True)
class Approach(Group, panel="What leaves"):
    """How a budget is found, or come to; a field goes by the name of the job's setting."""

    max_drop: float | None = setting(
        "POINTS",
        "As many as can, so that no more points of accuracy are lost, measured on training images held back.",
        After("params"),
        min=0,
        max=100,
    )
    steps: int = setting(
        "N",
        "Reach the budget in N steps, each chosen anew and, where that is done, compensated and finetuned.",
        After("max_drop"),
        default=1,
        min=1,
    )
