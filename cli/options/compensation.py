"""What becomes of the weights that stay."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .group import Group, setting

if TYPE_CHECKING:
    from ...engine.transfers.compensate import Compensate


@dataclass(frozen=True)
class Compensation(Group, panel="What stays (--compensate)"):
    """Whether the weights that stay make up for those that leave, and on how many images."""

    compensate: bool = setting(
        None,
        "Solve every layer again, on training images and without labels, to make up for what left.",
        default=False,
    )
    calibration: int | None = setting(
        "IMAGES", "How many training images that looks at. Default: 512.", min=1
    )
    fit_blocks: int | None = setting(
        "STEPS",
        "Then fit every block, for so many steps, to what it did before; 150 does more. Default: 50.",
        min=0,
    )

    @property
    def details(self) -> dict[str, int]:
        """What was said of how it is done, by name."""
        return {name: value for name, value in self.settings().items() if name != "compensate"}

    def transfer(self) -> "Compensate":
        """The transfer that does it."""
        from ...engine.transfers.compensate import Compensate

        said = {"images" if name == "calibration" else name: value for name, value in self.details.items()}
        return Compensate(**said)
