"""Where a convolution's feature map appears: its first activation, taken from the graph."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .channels import ChannelMap, Ids
from .records import NodeRecord

ACTIVATIONS = frozenset(
    {"relu", "relu6", "hardtanh", "silu", "hardswish", "gelu", "leaky_relu", "elu", "celu", "selu", "mish"}
    | {"softplus", "prelu", "tanh", "sigmoid", "hardsigmoid"}
)
# The names these ops have when a network runs, where they differ from those in an exported graph.
RUN_TIME_NAMES = {"relu6": "hardtanh", "prelu": "_prelu_kernel"} | {
    f"conv{transpose}{rank}d": "convolution" for transpose in ("", "_transpose") for rank in (1, 2, 3)
}


@dataclass(frozen=True, eq=False)
class Tap:
    """The `occurrence`-th run of ATen op `op` in one forward pass.

    Filter f is channel `positions[f]` of its result.
    """

    op: str
    occurrence: int
    positions: Ids


def find_taps(
    records: Sequence[NodeRecord], calls: Mapping[str, str], channel_map: ChannelMap
) -> dict[str, Tap]:
    """For each conv the first activation that carries its channels; else its BN; without that, itself.

    Args:
        records: the graph in forward order, ids resolved to classes.
        calls: graph node -> the layer whose weight it applies.
    """
    reach: dict[str, frozenset[str]] = {}  # node -> convs whose output arrives without passing another layer
    seen: Counter[str] = Counter()
    taps: dict[str, Tap] = {}
    final: set[str] = set()
    for record in records:
        op = RUN_TIME_NAMES.get(record.op, record.op)
        occurrence, seen[op] = seen[op], seen[op] + 1
        if record.name in calls:
            name = calls[record.name]
            layer = channel_map.layer(name)
            reach[record.name] = frozenset({name})
            if layer.kind in ("conv", "transposed") and name not in taps:
                taps[name] = Tap(op, occurrence, np.arange(len(layer.out_ids)))
            continue
        arriving = frozenset().union(*(reach.get(source, frozenset()) for source in record.inputs))
        reach[record.name] = arriving
        if record.op not in ACTIVATIONS and record.op != "batch_norm":
            continue
        for name in arriving & taps.keys() - final:
            positions = _positions(record, channel_map.layer(name).out_ids)
            if positions is None or (record.op == "batch_norm" and taps[name].op == "batch_norm"):
                continue
            taps[name] = Tap(op, occurrence, positions)
            if record.op in ACTIVATIONS:
                final.add(name)
    return taps


def _positions(record: NodeRecord, filters: Ids) -> Ids | None:
    """Where the filters' ids stand, in their order, among the channels of a tensor."""
    channels = record.value.line(1) if len(record.value.shape) > 1 else None
    if channels is None or len(channels) < len(filters):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(channels, len(filters))
    starts = np.flatnonzero((windows == filters).all(axis=1))
    # Of several places the last: what a dense block has just grown stands behind what it had.
    return np.arange(starts[-1], starts[-1] + len(filters)) if len(starts) else None
