"""Transfers, which say what the weights that stay become: one file each, found by file name."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .. import parts
from ..errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

    from ..events import Event
    from ..graph.residual import View
    from ..narrowing.thin import Choose, Thin
    from ..network.network import Network


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What the weights that stay become. Settings are fields, with defaults; the history keeps them.

    Attributes:
        full: the stage at which a trained network is measured before anything is cut out of it.
        thin: the stage at which it is measured afterwards.
        file: what that is called in a run's folder.
        needs_statistics: do batch norms mean nothing before they are re-estimated?
        method: what the command line calls a method with it.
    """

    full: ClassVar[str] = "masked"
    thin: ClassVar[str] = "narrow"
    file: ClassVar[str] = "narrow"
    needs_statistics: ClassVar[bool] = False
    method: ClassVar[str] = "select"

    @property
    def calibration(self) -> int:
        """Training images that `mend` looks at; 0 where there is nothing to mend."""
        return 0

    def narrow(self, network: "Network", seen: "View", choose: "Choose") -> "Thin":
        """Make the narrow network of a full one.

        Args:
            network: left as it is.
            seen: it, as pruning sees it.
            choose: from a channel map to the ids that leave; asked again whenever something had to be pinned.

        Raises:
            ProofError: the narrow network is not what it must be.
        """
        raise NotImplementedError

    def mend(
        self, network: "Network", thin: "Thin", images_NCHW: "Iterable[Tensor]"
    ) -> "Generator[Event, None, Thin]":
        """Change the weights of a narrow network that was proven, in place.

        Args:
            network: the full one.
            thin: what `narrow` made of it.
            images_NCHW: batches of training images, on the networks' device.
        """
        yield from ()
        return thin


def names() -> list[str]:
    """Every transfer there is; costs no torch."""
    return parts.names(__name__)


def get(name: str) -> type[Transfer]:
    """The transfer called `name`.

    Raises:
        EngineError: there is none of that name.
    """
    return parts.class_of(__name__, name, "transfer", EngineError)
