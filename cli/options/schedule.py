"""By which method filters leave, and when."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from .group import Group, option

_when = partial(option, "When it leaves (--schedule)")

Method = Annotated[
    Literal["select", "sketch", "resrep"],
    option(
        "What leaves",
        "--method",
        None,
        "Select filters by score, sketch them, or train with compactors until their rows are zero.",
    ),
]


@dataclass(frozen=True)
class Schedule(Group):
    """When filters leave, and what the network is by then."""

    schedule: Annotated[
        Literal["one-shot", "layer-by-layer", "soft", "hard"],
        _when("--schedule", None, "At once; one layer after another; or masked again and again in training."),
    ] = "one-shot"
    start_conv: Annotated[
        str | None,
        _when(
            "--start-conv",
            "NAME|N",
            "Where to begin: the convolution (layer by layer), or the block (sketch; default: 1, past the "
            "stem).",
        ),
    ] = None
    prune_every: Annotated[
        int | None,
        _when("--prune-every", "EPOCHS", "Soft and hard: epochs from mask to mask. Default: 1.", min=1),
    ] = None
    scratch: Annotated[
        bool, _when("--scratch", None, "Start from random weights, not from the newest base of --arch.")
    ] = False
