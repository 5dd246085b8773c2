"""All at once, without training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from . import Ready, Schedule

if TYPE_CHECKING:
    from ..data import ImageData
    from ..narrowing.chooser import Chooser
    from ..training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class OneShot(Schedule):
    """Filters are scored once, and all that leave do so together."""

    trains: ClassVar[bool] = False

    def ready(self, chooser: "Chooser", config: "TrainConfig | None", data: "ImageData | None") -> Ready:
        """Make sure that what is to leave can, before the scoring, which may take long."""
        chooser.check()
        return Ready(chooser, config, data)
