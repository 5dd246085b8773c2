"""The weights that stay, solved again on the narrow network's own activations."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from ..compensation.block_fitting import STEPS
from ..compensation.mending import mend
from ..errors import TrainingError
from ..events import Event
from ..graph.residual import View
from ..narrowing.thin import Choose, Thin, cut_proven
from ..network.network import Network
from . import Transfer


@dataclass(frozen=True, kw_only=True)
class Compensate(Transfer):
    """What stays is first cut and proven as it is; then each layer makes up for what it no longer reads.

    See `engine.compensation.compensate`: least squares, layer by layer, on unlabelled training images; and
    `engine.compensation.block_fitting`.

    Attributes:
        images: how many are looked at.
        fit_blocks: steps for which every block of a network that takes images is trained to do what the full
            network's does; 0 is none.
    """

    images: int = 512
    fit_blocks: int = STEPS

    def __post_init__(self) -> None:
        """Refuse to solve for anything on no images.

        Raises:
            TrainingError: there are to be none, or fewer steps than none.
        """
        if self.images < 1:
            raise TrainingError(f"compensation on {self.images} images; it must be at least 1")
        if self.fit_blocks < 0:
            raise TrainingError(f"`fit_blocks` is {self.fit_blocks}; it must be at least 0")

    @property
    def calibration(self) -> int:
        """See `images`."""
        return self.images

    def narrow(self, network: Network, seen: View, choose: Choose) -> Thin:
        """Cut out what leaves; see `Transfer.narrow`."""
        return cut_proven(seen, network.takes, choose)

    def mend(
        self, network: Network, thin: Thin, images_NCHW: Iterable[Tensor]
    ) -> Generator[Event, None, Thin]:
        """Solve every layer whose inputs have changed, then fit blocks, in place; see `Transfer.mend`."""
        mended = yield from mend(
            network.model, thin.model, thin.map, thin.removed, images_NCHW, fit_blocks=self.fit_blocks
        )
        facts = {**thin.facts, "compensation": mended.facts}
        return replace(thin, notes=(*thin.notes, *mended.notes), facts=facts)
