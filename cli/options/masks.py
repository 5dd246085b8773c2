"""ResRep's masks on compactors."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from .group import Group, option

_masks = partial(option, "Masks (--method resrep)")


@dataclass(frozen=True)
class Masks(Group):
    """How rows of compactors are driven to zero."""

    lasso: Annotated[
        float | None,
        _masks("--lasso", "STRENGTH", "How hard all rows are pulled to zero. Default: 0.0001."),
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
