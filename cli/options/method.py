"""By which method filters leave, when, and what only some methods are told."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from ...engine import schedules
from .group import Group, option

_when = partial(option, "When it leaves (--schedule)")
_sketch = partial(option, "Sketching (--method sketch)")
_masks = partial(option, "Masks (--method resrep)")

Method = Annotated[
    Literal["select", "sketch", "resrep"],
    option(
        "What leaves",
        "--method",
        None,
        "Select filters by score, sketch them, or train with compactors until their rows are zero.",
    ),
]

# The usual ones first, then whatever else there is; ResRep's own goes with its method.
_USUAL = ("one-shot", "layer-by-layer", "soft", "hard")
_SCHEDULES = (*_USUAL, *(n for n in schedules.names() if n not in (*_USUAL, "gradient-resetting")))
if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[_SCHEDULES]


@dataclass(frozen=True)
class Schedule(Group):
    """When filters leave, and what the network is by then."""

    schedule: Annotated[
        ScheduleName,
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


@dataclass(frozen=True)
class Sketching(Group):
    """What sketched weights are made of."""

    procedure: Annotated[
        Literal["released", "paper"] | None,
        _sketch("--procedure", None, "As the authors' code does it, or as their paper says. Default: paper."),
    ] = None
    weight_norm: Annotated[
        Literal["none", "l2"] | None,
        _sketch("--weight-norm", None, "Divide each sketched weight by its norm. Default: none."),
    ] = None


@dataclass(frozen=True)
class Masks(Group):
    """How rows of compactors are driven to zero."""

    lasso: Annotated[
        float | None, _masks("--lasso", "STRENGTH", "How hard all rows are pulled to zero. Default: 0.0001.")
    ] = None
    mask_after: Annotated[
        int | None, _masks("--mask-after", "EPOCHS", "Epochs before the first masks. Default: 5.")
    ] = None
    mask_interval: Annotated[
        int | None,
        _masks("--mask-interval", "STEPS", "Steps from one set of masks to the next. Default: 200."),
    ] = None
    granularity: Annotated[
        int | None,
        _masks("--granularity", "CHANNELS", "At most so many masked in addition each time. Default: 4."),
    ] = None
