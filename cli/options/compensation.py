"""What becomes of the weights that stay."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from .group import Group, option

_stays = partial(option, "What stays (--compensate)")


@dataclass(frozen=True)
class Compensation(Group):
    """Whether the weights that stay make up for those that leave, and on how many images."""

    compensate: Annotated[
        bool,
        _stays(
            "--compensate",
            None,
            "Solve every layer again, on training images and without labels, to make up for what left.",
        ),
    ] = False
    calibration: Annotated[
        int | None,
        _stays("--calibration", "IMAGES", "How many training images that looks at. Default: 512.", min=1),
    ] = None
