"""What becomes of the weights that stay."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from .group import Group, option

if TYPE_CHECKING:
    from ...engine.transfers.compensate import Compensate

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
    fit_blocks: Annotated[
        int | None,
        _stays(
            "--fit-blocks",
            "STEPS",
            "Then fit every block, for so many steps, to what it did before; 150 does more. Default: 50.",
            min=0,
        ),
    ] = None

    @property
    def details(self) -> dict[str, int]:
        """What was said of how it is done, by name."""
        return {name: value for name, value in self.settings().items() if name != "compensate"}

    def transfer(self) -> "Compensate":
        """The transfer that does it."""
        from ...engine.transfers.compensate import Compensate

        return Compensate(**{_ENGINES.get(name, name): value for name, value in self.details.items()})


_ENGINES = {"calibration": "images"}  # the engine's name, where it is another
