"""The weights that stay, as they are."""

from dataclasses import dataclass

from ..graph.residual import View
from ..narrowing.thin import Choose, Thin, cut_proven
from ..network.network import Network
from . import Transfer


@dataclass(frozen=True, kw_only=True)
class Slice(Transfer):
    """Every filter that stays keeps its weights: the narrow network equals the full one, masked."""

    def narrow(self, network: Network, seen: View, choose: Choose) -> Thin:
        """Cut out what leaves; see `Transfer.narrow`."""
        return cut_proven(seen, network.takes, choose)
