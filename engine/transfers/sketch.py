"""Filters replaced by a sketch of them: FilterSketch."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ..algebra.frequent_directions import Procedure
from ..graph.residual import View
from ..graph.trace import trace
from ..narrowing.narrowing import proven_difference
from ..narrowing.thin import Choose, Thin, cut_proven
from ..network.files import load_network, save_network
from ..network.network import Network
from ..selection.selection import check_choice
from ..sketching.targets import targets
from ..sketching.weights import WeightNorm, fill, sketch_weights
from . import Transfer


@dataclass(frozen=True, kw_only=True)
class Sketch(Transfer):
    """Wherever filters left, those that stay become a sketch of all that were there.

    Lin et al., 2020, arXiv 2001.08514. The narrow network is first cut and proven with weights of the full
    one, which says that these widths go together; then the sketches take their place. So it matters how many
    filters leave, not which.

    Attributes:
        procedure: `paper`, or `released` as the authors' code does it; see `frequent_directions`.
        weight_norm: `l2` divides each sketched weight by its norm.
    """

    needs_statistics = True
    method = "sketch"

    procedure: Procedure = "paper"
    weight_norm: WeightNorm = "none"

    def __post_init__(self) -> None:
        """Refuse a procedure or a norm that there is not.

        Raises:
            AllocationError: names it.
        """
        check_choice("procedure", self.procedure, Procedure)
        check_choice("weight norm", self.weight_norm, WeightNorm)

    def narrow(self, network: Network, seen: View, choose: Choose) -> Thin:
        """Cut, fill in sketches, and read the result back from a file; see `Transfer.narrow`.

        `kept` counts off the filters of the narrow network, none of which is one of the full one where they
        were sketched; `difference` is that to the file.
        """
        thin = cut_proven(seen, network.takes, choose)
        found, _ = targets(network.model, seen.traced.map, network.block_of)
        gone = [(target, thin.removed.intersection(target.maker.out_ids.tolist())) for target in found]
        narrower = {target: target.filters - len(ids) for target, ids in gone if ids}
        weights = sketch_weights(
            network.model.state_dict(), narrower, procedure=self.procedure, weight_norm=self.weight_norm
        )
        fill(thin.model, weights, tuple(narrower))
        return replace(thin, difference=_stored_difference(replace(network, model=thin.model)))


def _stored_difference(network: Network) -> float:
    """Write the network to a file, read it from there alone, and compare.

    Raises:
        ProofError: the file holds another network.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "narrow.hdf5"
        save_network(path, network)
        stored = load_network(path, network.arch, input_size=network.input_size)
    traced = trace(network.model, network.takes)
    return proven_difference(network.model, stored.model, traced, frozenset(), network.takes, "its own file")
