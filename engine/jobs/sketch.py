"""FilterSketch as a job: sketch, prove, re-estimate batch norms, measure at every turn."""

import tempfile
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..algebra.frequent_directions import PROCEDURES, Procedure
from ..data import ImageData
from ..errors import AllocationError
from ..events import Event, Note
from ..graph.channels import ChannelMap
from ..graph.cost import count
from ..graph.trace import Trace, trace
from ..narrowing.narrowing import left_alone, narrow_proven, proven_difference
from ..narrowing.pruning import Pruned, kept_filters
from ..network.network import Network, load_network, save_network
from ..selection.rates import parse_rates
from ..selection.selection import Selection
from ..sketching.targets import Target, targets, widths
from ..transfers.sketch import WEIGHT_NORMS, WeightNorm, fill, sketch_weights
from .one_shot import Measuring, Outcome, measuring


@dataclass(frozen=True, kw_only=True)
class Sketch(Measuring):
    """Settings of the job.

    Attributes:
        keep_rate: shares kept, `"[0.6]*27"`; see `widths`.
        procedure: `paper`, or `released` as the authors' code does it; see `frequent_directions`.
        weight_norm: `l2` divides each sketched weight by its norm.
        start_conv: the place to begin with; see `widths`.
        skip: globs of convolutions to leave alone.
    """

    keep_rate: str
    procedure: Procedure = "paper"
    weight_norm: WeightNorm = "none"
    start_conv: str = "1"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no network could be sketched by.

        Raises:
            AllocationError: a malformed list of rates, or a procedure or a norm that there is not.
        """
        parse_rates(self.keep_rate, keep=True)
        for what, given, known in (
            ("procedure", self.procedure, PROCEDURES),
            ("weight norm", self.weight_norm, WEIGHT_NORMS),
        ):
            if given not in known:
                raise AllocationError(f"no {what} '{given}'; choose {' or '.join(known)}")


@dataclass(frozen=True, eq=False)
class Sketchable:
    """What a job means for a network: the width of every sketch, and why other groups have none."""

    widths: dict[Target, int]
    refused: dict[str, str]

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Per target, the width of its sketch and how many filters there are."""
        return {target.name: (width, target.filters) for target, width in self.widths.items()}

    def removed(self, channel_map: ChannelMap) -> frozenset[int]:
        """As many channels of each target as its sketch has fewer; of targets with pinned ones, none."""
        leaving = (target.maker.out_ids[width:] for target, width in self.widths.items())
        whole = (ids.tolist() for ids in leaving if not channel_map.pinned.keys() & set(ids.tolist()))
        return frozenset(channel for ids in whole for channel in ids)


def run_sketch(
    network: Network, job: Sketch, data: ImageData | None, device: torch.device
) -> Generator[Event, None, Outcome]:
    """Sketch once. Without images nothing is re-estimated or measured.

    Raises:
        AllocationError: see `sketchable`.
        ProofError: the narrow network is not the one that was planned, or not the one that a file holds.
    """
    network.model.to(device)
    traced = trace(network.model, network.input_size)
    pruned = sketch_network(network, job, traced)
    for note in left_alone(pruned.misfits):
        yield Note(note)
    if data is None or not job.recalibration:
        why = "there are no images" if data is None else "--recalibrate is 0"
        yield Note(f"batch norms behind sketched filters are not re-estimated ({why}): finetune before use")
    outcome = yield from measuring(network, pruned, job, data, device)
    return replace(outcome, pruned=replace(pruned, difference=_stored_difference(outcome.network)))


def sketchable(network: Network, job: Sketch, channel_map: ChannelMap) -> Sketchable:
    """Find the targets and their widths.

    Raises:
        AllocationError: nothing can be sketched, or the list of rates does not go with what can.
    """
    found, refused = targets(network.model, channel_map, network.block_of)
    if not found:
        name, reason = next(iter(refused.items()), ("the network", "it has no convolutions"))
        raise AllocationError(f"nothing in '{network.arch}' can be sketched: {name}: {reason}")
    wanted = widths(found, job.keep_rate, start=job.start_conv, skip=job.skip, others=refused)
    return Sketchable(wanted, refused)


def sketch_network(network: Network, job: Sketch, traced: Trace | None = None) -> Pruned:
    """Replace filters by sketches of them.

    The narrow network is first cut and proven with weights of the full one, which says that these widths go
    together; then the sketches take their place.

    Args:
        network: left as it is.
        traced: the network's trace, where it is there already.

    Returns:
        `kept` counts off the new filters, none of which is an old one; `difference` is that of the cut.

    Raises:
        AllocationError, ProofError: as `run_sketch`.
    """
    traced = traced or trace(network.model, network.input_size)
    plan = sketchable(network, job, traced.map)
    narrowed = narrow_proven(network.model, traced, network.input_size, plan.removed)
    gone = narrowed.removed
    narrower = {
        target: width for target, width in plan.widths.items() if not gone.isdisjoint(target.maker.out_ids)
    }
    weights = sketch_weights(
        network.model.state_dict(), narrower, procedure=job.procedure, weight_norm=job.weight_norm
    )
    fill(narrowed.model, weights, tuple(narrower))
    return Pruned(
        network=network.after("prune", _history(job), model=narrowed.model, accuracy=None),
        map=narrowed.map,
        removed=gone,
        residual="internal",
        selection=Selection(gone, {t.name: (narrower.get(t, t.filters), t.filters) for t in plan.widths}),
        kept=kept_filters(narrowed.map, gone),
        before=count(traced.map),
        after=count(traced.map, gone),
        difference=narrowed.difference,
        pinned=plan.refused,
        misfits=narrowed.misfits,
        notes=(),
    )


def _history(job: Sketch) -> dict[str, object]:
    return {
        "method": "sketch",
        "procedure": job.procedure,
        "keep_rate": job.keep_rate,
        "weight_norm": job.weight_norm,
        "start_conv": job.start_conv,
        "skip": list(job.skip),
        "recalibration": job.recalibration,
        **job.origin,
    }


def _stored_difference(network: Network) -> float:
    """Write the network to a file, read it from there alone, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "narrow.hdf5"
        save_network(path, network)
        stored = load_network(path, network.arch, input_size=network.input_size)
    traced = trace(network.model, network.input_size)
    return proven_difference(
        network.model, stored.model, traced, frozenset(), network.input_size, "its own file"
    )
