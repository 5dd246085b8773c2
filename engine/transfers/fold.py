"""Compactors folded into the convolutions before them, rows that are zero left out: ResRep's end."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...archs.units import Compactor
from ..compactors.folding import THRESHOLD, fold
from ..devices import device_of
from ..graph.cost import count
from ..graph.residual import View
from ..graph.trace import trace
from ..masking.resetting import active_rows, row_norms
from ..modules.guests import COMPACTORS
from ..narrowing.thin import Choose, Thin
from ..network.network import Network
from . import Transfer


@dataclass(frozen=True, kw_only=True)
class Fold(Transfer):
    """What leaves is what compactors make nothing of; all else stays what it computes."""

    full = "trained"
    thin = "folded"
    file = "deploy"
    method = "resrep"

    def narrow(self, network: Network, seen: View, choose: Choose) -> Thin:
        """Fold; see `Transfer.narrow`. The compactors' rows decide what leaves, and nobody else is asked."""
        compactors = tuple(dict.fromkeys(COMPACTORS.placed(network.model).values()))
        lingering = _lingering(compactors) if compactors else 0
        folded = fold(network.model, network.input_size)
        model = folded.model.to(device_of(network.model))
        return Thin(
            model=model,
            map=seen.traced.map,
            removed=frozenset(),
            after=count(trace(model, network.input_size).map),
            kept=folded.kept,
            difference=folded.error,
            notes=folded.notes,
            counts={name: (kept, full) for name, (full, kept) in folded.widths.items()},
            folded=folded.folded,
            facts={
                "widths": {name: list(widths) for name, widths in folded.widths.items()},
                "lingering_rows": lingering,
                "cost_of_dropping": folded.cost,
            },
        )


def _lingering(compactors: Sequence[Compactor]) -> int:
    """How many masked rows are too long to leave."""
    return int((~active_rows(compactors) & (row_norms(compactors) >= THRESHOLD)).sum())
