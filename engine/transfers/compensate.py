"""The weights that stay, solved again on the narrow network's own activations."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from ..compensation.compensate import compensate
from ..errors import TrainingError
from ..events import Event
from ..graph.residual import View
from ..narrowing.thin import Choose, Thin, cut_proven
from ..network.network import Network
from . import Transfer


@dataclass(frozen=True, kw_only=True)
class Compensate(Transfer):
    """What stays is first cut and proven as it is; then each layer makes up for what it no longer reads.

    See `engine.compensation.compensate`: least squares, layer by layer, on unlabelled training images.

    Attributes:
        images: how many are looked at.
    """

    images: int = 512

    def __post_init__(self) -> None:
        """Refuse to solve for anything on no images.

        Raises:
            TrainingError: there are to be none.
        """
        if self.images < 1:
            raise TrainingError(f"compensation on {self.images} images; it must be at least 1")

    @property
    def calibration(self) -> int:
        """See `images`."""
        return self.images

    def narrow(self, network: Network, seen: View, choose: Choose) -> Thin:
        """Cut out what leaves; see `Transfer.narrow`."""
        return cut_proven(seen, network.input_size, choose)

    def mend(
        self, network: Network, thin: Thin, images_NCHW: Iterable[Tensor]
    ) -> Generator[Event, None, Thin]:
        """Solve every layer whose inputs have changed, in place; see `Transfer.mend`."""
        report = yield from compensate(network.model, thin.model, thin.map, thin.removed, images_NCHW)
        refitted = [layer for layer in report.layers if layer.form != "left"]
        facts = {
            "compensated_layers": len(refitted),
            "left_layers": len(report.layers) - len(refitted),
            "images": report.images,
        }
        return replace(thin, notes=(*thin.notes, *report.notes), facts={**thin.facts, "compensation": facts})
