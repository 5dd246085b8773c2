"""What each paper's own program counts, where the true narrow network is `engine.graph.cost`'s.

Every published table has its conventions, and its program has its slips; both are repeated here so that a
printed number can be recomputed. They read the channel map and the ids that left, so they count any network.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import partial

import numpy as np

from ..graph.channels import Layer
from ..graph.cost import count
from ..graph.records import NodeRecord
from ..graph.trace import Trace
from ..selection.selection import Selection


@dataclass(frozen=True)
class Count:
    """Operations for one image and parameters, as one paper counts them; None where it does not."""

    flops: int
    params: int | None


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A network and what has left it.

    Attributes:
        traced: of the full network, as its residual mode shows it.
        selection: what left.
        share: of every layer's filters that stays, as FPGM writes it; 1 in the full network.
    """

    traced: Trace
    selection: Selection
    share: Decimal = Decimal(1)


def full(traced: Trace) -> Narrowed:
    """The network with nothing gone."""
    return Narrowed(traced, Selection(frozenset(), {}))


Counting = Callable[[Narrowed], Count]


def plain(narrowed: Narrowed) -> Count:
    """Multiply-accumulates of convolutions and linear layers, both sides narrow; their parameters, no BN."""
    cost = count(narrowed.traced.map, narrowed.selection.removed)
    return Count(cost.macs, sum(layer.params for layer in cost.layers))


def hrank(narrowed: Narrowed) -> Count:
    """HRank: convolutions lose filters but no inputs; linear layers stay whole, biases are operations; no BN.

    Transitions of a DenseNet are the exception: they lose inputs too. HRank's get_flops.py.
    """
    removed = narrowed.traced.map.removal_mask(narrowed.selection.removed)
    flops = params = 0
    for layer in narrowed.traced.map.layers:
        filters, inputs, *kernel = layer.shape
        if layer.kind == "linear":
            weights, biases = filters * inputs, filters if layer.bias else 0
            flops += weights + biases
        else:
            filters -= int(removed[layer.out_ids].sum())
            if layer.name.startswith("trans"):
                inputs -= int(removed[layer.in_ids].sum())
            weights, biases = filters * inputs * int(np.prod(kernel)), filters if layer.bias else 0
            flops += weights * layer.positions
        params += weights + biases
    return Count(flops, params)


def fpgm(narrowed: Narrowed, *, times: Mapping[str, Decimal] = {}) -> Count:
    """FPGM: convolutions of real-valued width, the same share of every pruned one; no linear layer, no BN.

    FPGM's functions/cal_flop.py; the result is cut off, not rounded.

    Args:
        times: glob of convolution names -> the factor by which the authors' formula is off there.
    """
    shrunk = {name for name, (kept, full) in narrowed.selection.counts.items() if kept < full}
    groups = (group.channels for group in narrowed.traced.map.groups if group.name in shrunk)
    pruned = narrowed.traced.map.removal_mask(np.concatenate([np.empty(0, dtype=np.int64), *groups]))

    def width(ids: np.ndarray) -> Decimal:
        inside = int(pruned[ids].sum())
        return len(ids) - inside + inside * narrowed.share

    flops = Decimal(0)
    for layer in narrowed.traced.map.layers:
        if layer.kind != "linear":
            area = layer.positions * int(np.prod(layer.shape[2:]))
            flops += area * width(layer.in_ids) * width(layer.out_ids) * _factor(times, layer)
    return Count(int(flops), None)


def resrep(narrowed: Narrowed, *, times: Mapping[str, Decimal] = {}, float32: bool = False) -> Count:
    """ResRep: convolutions and the linear layer, both sides narrow, no biases; rr/resrep_scripts.py.

    Args:
        times: as for `fpgm`.
        float32: the layers' numbers are added up in single precision.
    """
    layers = count(narrowed.traced.map, narrowed.selection.removed).layers
    named = {layer.name: layer for layer in narrowed.traced.map.layers}
    macs = [int(layer.macs * _factor(times, named[layer.name])) for layer in layers]
    return Count(int(np.sum(np.array(macs, dtype=np.float32))) if float32 else sum(macs), None)


def thop(narrowed: Narrowed, *, per_norm: int, per_product: int, pool: str, float32: bool = False) -> Count:
    """THOP, as FilterSketch and HRankPlus used it: the narrow network, BN, biases of convolutions and pools.

    Args:
        per_norm: operations per element of a batch normalisation.
        per_product: operations per multiply-accumulate of a linear layer.
        pool: how the last pool counts per output: `adaptive`, the area of its window and 1; `window`, the
            side of its window and 1; `once`, 1.
        float32: the modules' numbers are added up in single precision, one after the other.
    """
    channel_map = narrowed.traced.map
    cost = count(channel_map, narrowed.selection.removed)
    macs = {layer.name: layer.macs for layer in cost.layers}
    removed = channel_map.removal_mask(narrowed.selection.removed)
    made = {record.name: record for record in narrowed.traced.records}

    def operations(record: NodeRecord) -> int:
        elements = _elements(record, removed)
        if record.op == "batch_norm":
            return per_norm * elements
        if record.op == "adaptive_avg_pool2d":
            side = made[record.inputs[0]].value.shape[-1]
            return elements * {"adaptive": side * side + 1, "window": side + 1, "once": 1}[pool]
        layer = channel_map.layer(record.module)
        if layer.kind == "linear":
            return per_product * macs[layer.name]
        return macs[layer.name] + (elements if layer.bias else 0)

    counted = ("conv2d", "linear", "batch_norm", "adaptive_avg_pool2d")
    records = [record for record in narrowed.traced.records if record.op in counted]
    if not float32:
        return Count(sum(map(operations, records)), cost.params)
    total = np.float32(0)
    for record in _projections_later(records):
        total += np.float32(operations(record))
    return Count(int(total), cost.params)


def _factor(times: Mapping[str, Decimal], layer: Layer) -> Decimal:
    return next((factor for glob, factor in times.items() if fnmatchcase(layer.name, glob)), Decimal(1))


def _elements(record: NodeRecord, removed: np.ndarray) -> int:
    """Numbers in the tensor that a node makes of one image, with the channels gone."""
    _, *shape = record.value.shape
    ids = record.value.ids  # of length 1 along axes where all are alike
    return int((~removed[ids]).sum()) * (math.prod(shape) // ids.size)


def _projections_later(records: Iterable[NodeRecord]) -> Iterator[NodeRecord]:
    """Torchvision's order of modules: a stage's projection stands behind its first block."""
    held: list[NodeRecord] = []
    for record in records:
        if ".projection." in record.module:
            held.append(record)
            continue
        if ".block0." not in record.module:
            yield from held
            held = []
        yield record
    yield from held


_PROJECTION = {"*.projection.*": Decimal(0)}

COUNTS: dict[str, Counting] = {
    "plain": plain,
    "hrank": hrank,
    "fpgm": fpgm,
    # No projections; the correction for the step to stage 3 is overwritten by that for stage 4.
    "fpgm-basic": partial(fpgm, times={**_PROJECTION, "stage3.block0.conv1.conv": Decimal(2)}),
    # The first convolution of stages 2 to 4 at the size of the stage's output.
    "fpgm-bottleneck": partial(fpgm, times={"stage[234].block0.conv1.conv": Decimal("0.25")}),
    "resrep": partial(resrep, float32=True),
    # The 1x1 projections are taken for 2x2.
    "resrep-cifar": partial(resrep, times={"*.projection.*": Decimal(4)}),
    "thop-2019": partial(thop, per_norm=4, per_product=2, pool="window", float32=True),
    "thop-2020": partial(thop, per_norm=2, per_product=1, pool="adaptive"),
    # The same program where the last pool is no adaptive one.
    "thop-2020-avgpool": partial(thop, per_norm=2, per_product=1, pool="once"),
}
