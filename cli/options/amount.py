"""How many channels leave each layer."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...engine.errors import AllocationError
from ...engine.selection import amounts
from .group import SHARE, After, Group, option

if TYPE_CHECKING:
    from ...engine.selection.allocation import Allocation

_leaves = partial(option, "What leaves")


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
    _leaves(
        "--residual",
        None,
        "Channels added into a residual stream: kept, removed from the whole stream, or removed from this "
        "branch alone. Default: internal.",
    ),
]


@dataclass(frozen=True)
class Amount(Group):
    """What leaves, without a word on which filters do."""

    compress_rate: Annotated[
        str | None,
        _leaves("--compress-rate", "RATES", "Share removed of each conv, HRank's way: '[0.1]+[0.6]*35'."),
    ] = None
    keep_rate: Annotated[
        str | None,
        _leaves("--keep-rate", "RATES", "Share kept of each conv, FilterSketch's way: '[0.6]*27'."),
    ] = None
    rate: Annotated[float | None, _leaves("--rate", "SHARE", "Share removed of every layer.", **SHARE)] = None
    layer_rate: Annotated[
        list[str] | None,
        _leaves(
            "--layer-rate",
            "NAME=SHARE",
            "Share removed of layers by name or glob: 'stage3.*=0.7'. Repeatable.",
        ),
    ] = None
    rate_norm: Annotated[
        float | None,
        _leaves("--rate-norm", "SHARE", "FPGM: share kept by norm, before distances count.", **SHARE),
    ] = None
    rate_dist: Annotated[
        float | None, _leaves("--rate-dist", "SHARE", "FPGM: share removed by distance.", **SHARE)
    ] = None
    distance: Annotated[
        Literal["l2", "l1", "cosine"] | None,
        _leaves("--distance", None, "FPGM: what --rate-dist measures between filters. Default: l2."),
    ] = None
    flops: Annotated[
        float | None,
        _leaves(
            "--flops --flops-target",
            "BUDGET",
            "Multiply-accumulates to keep: a share (0.5, 50%) or 60M.",
            parser=budget,
        ),
    ] = None
    params: Annotated[
        float | None,
        _leaves("--params", "BUDGET", "Parameters to keep: a share (0.5, 50%) or 0.4M.", parser=budget),
    ] = None
    skip: Annotated[
        list[str] | None, _leaves("--skip", "GLOB", "Leave matching layers alone: 'conv1'. Repeatable.")
    ] = None
    residual: Residual = None
    round_to: Annotated[
        int | None, _leaves("--round-to", "N", "Keep multiples of N channels. Default: 1.", min=1)
    ] = None
    min_channels: Annotated[
        int | None, _leaves("--min-channels", "N", "Keep at least N channels per layer. Default: 1.", min=1)
    ] = None
    max_rate: Annotated[
        float | None,
        _leaves("--max-rate", "SHARE", "Remove at most this share of a layer. Default: 0.9.", **SHARE),
    ] = None
    deps: Annotated[
        str | None,
        _leaves(
            "--deps", "WIDTHS|FILE", "Width of each conv, ResRep's way: '16,10,16,...' or an .hdf5 with deps."
        ),
    ] = None
    plan: Annotated[Path | None, _leaves("--plan", "FILE", "Keep exactly the channels this plan names.")] = (
        None
    )

    def settings(self) -> dict[str, Any]:
        """What was said, by the engine's names."""
        said = super().settings()
        return {"layer_rates" if name == "layer_rate" else name: value for name, value in said.items()}

    def allocation(self) -> "Allocation | None":
        """What was asked for; None where nothing says how much is to leave.

        Raises:
            AllocationError: options that exclude each other or have no effect, or that cannot be read.
        """
        from ...engine.allocations import allocation_of

        return allocation_of(self.settings())


@dataclass(frozen=True)
class RankedAmount(Amount):
    """What leaves, where filters are ranked too."""

    ranking: Annotated[
        Literal["local", "global", "loss"] | None,
        _leaves(
            "--ranking",
            None,
            "Compare scores in a layer, or over all layers; or take them for losses (obs) and keep their sum "
            "least. Default: local.",
        ),
        After("params"),
    ] = None
    residual: Annotated[Residual, After("max_rate")] = None


@dataclass(frozen=True)
class Approach(Group):
    """How a budget is found, or come to; a field goes by the name of the job's setting."""

    max_drop: Annotated[
        float | None,
        _leaves(
            "--max-drop",
            "POINTS",
            "As many as can, so that no more points of accuracy are lost, measured on training images held "
            "back.",
            min=0,
            max=100,
        ),
        After("params"),
    ] = None
    steps: Annotated[
        int,
        _leaves(
            "--steps",
            "N",
            "Reach the budget in N steps, each chosen anew and, where that is done, compensated and "
            "finetuned.",
            min=1,
        ),
        After("max_drop"),
    ] = 1
