"""When filters leave, and what only some methods are told."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...engine import schedules
from .group import Group, setting

# The usual ones first, then whatever else there is; ResRep's own goes with its method.
_USUAL = ("one-shot", "layer-by-layer", "soft", "hard")
_SCHEDULES = (*_USUAL, *(n for n in schedules.names() if n not in (*_USUAL, "gradient-resetting")))
if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[_SCHEDULES]


@dataclass(frozen=True)
class Schedule(Group, panel="When it leaves (--schedule)"):
    """When filters leave, and what the network is by then."""

    schedule: ScheduleName = setting(
        None, "At once; one layer after another; or masked again and again in training.", default="one-shot"
    )
    start_conv: str | None = setting(
        "NAME|N",
        "Where to begin: the convolution (layer by layer), or the block (sketch; default: 1, past the stem).",
    )
    prune_every: int | None = setting("EPOCHS", "Soft and hard: epochs from mask to mask. Default: 1.", min=1)
    scratch: bool = setting(
        None, "Start from random weights, not from the newest base of --arch.", default=False
    )


@dataclass(frozen=True)
class Sketching(Group, panel="Sketching (--method sketch)"):
    """What sketched weights are made of."""

    procedure: Literal["released", "paper"] | None = setting(
        None, "As the authors' code does it, or as their paper says. Default: paper."
    )
    weight_norm: Literal["none", "l2"] | None = setting(
        None, "Divide each sketched weight by its norm. Default: none."
    )


@dataclass(frozen=True)
class Masks(Group, panel="Masks (--method resrep)"):
    """How rows of compactors are driven to zero."""

    lasso: float | None = setting("STRENGTH", "How hard all rows are pulled to zero. Default: 0.0001.")
    mask_after: int | None = setting("EPOCHS", "Epochs before the first masks. Default: 5.")
    mask_interval: int | None = setting("STEPS", "Steps from one set of masks to the next. Default: 200.")
    granularity: int | None = setting("CHANNELS", "At most so many masked in addition each time. Default: 4.")
