"""Which batch normalisation follows which layer and nothing else, read from the graph and not from names."""

from collections import defaultdict
from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .records import NodeRecord
from .trace import Trace


def layer_calls(model: nn.Module, traced: Trace) -> dict[str, str]:
    """Graph node -> layer, of every convolution or linear layer that a module of its own runs.

    A layer whose weight other modules use too is left out: what one of them changes, all of them would feel.
    """
    shared = set(traced.map.ties.values())
    known = set(traced.map.layer_names)
    calls = {}
    for record in traced.records:
        module = model.get_submodule(record.module)
        is_layer = isinstance(module, _ConvNd | nn.Linear) and record.op.startswith(("conv", "linear"))
        if is_layer and record.module in known and f"{record.module}.weight" not in shared:
            calls[record.name] = record.module
    return calls


def batch_norms(model: nn.Module, traced: Trace) -> dict[str, str]:
    """Layer -> the one BN module its output always goes into, and that never gets anything else.

    Such a BN is one affine map of the layer's channels in evaluation, and can be folded into its weights.
    """
    calls = layer_calls(model, traced)
    readers: dict[str, list[NodeRecord]] = defaultdict(list)
    for record in traced.records:
        for source in record.inputs:
            readers[source].append(record)
    behind: dict[str, set[str]] = defaultdict(set)  # layer -> the BNs that read it, "" for anything else
    before: dict[str, set[str]] = defaultdict(set)  # BN -> the layers it reads, "" for anything else
    for record in traced.records:
        if record.name in calls:
            behind[calls[record.name]].update(
                reader.module if _is_norm(model, reader) else "" for reader in readers[record.name]
            )
        if _is_norm(model, record):
            before[record.module].add(calls.get(record.inputs[0], ""))
    return {
        layer: norm
        for layer, found in behind.items()
        if len(found) == 1 and (norm := next(iter(found))) and before[norm] == {layer} and _folds(model, norm)
    }


def followers(batch_norm_of: Mapping[str, str], model: nn.Module, traced: Trace) -> dict[str, str]:
    """Graph node -> layer, where the layer's filters come out: at its BN, or at itself without one."""
    layer_of = {norm: layer for layer, norm in batch_norm_of.items()}
    calls = layer_calls(model, traced)
    ends = {node: layer for node, layer in calls.items() if layer not in batch_norm_of}
    ends |= {
        record.name: layer_of[record.module]
        for record in traced.records
        if record.op == "batch_norm" and record.module in layer_of
    }
    return ends


def _is_norm(model: nn.Module, record: NodeRecord) -> bool:
    return record.op == "batch_norm" and isinstance(model.get_submodule(record.module), _NormBase)


def _folds(model: nn.Module, norm: str) -> bool:
    """Evaluation must not depend on the batch, and the module must do nothing of its own beside it."""
    module = model.get_submodule(norm)
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm) and (
        module.running_mean is not None and module.running_var is not None
    )
