"""How a network looks to pruning under a residual mode: with `scatter`, every branch has channels of its own.

The trick is in the network, not in the engine: where a residual addition says explicitly to which channels of
the stream its branch goes, the branch's channels are no longer the stream's, and surgery shortens the index
like any other tensor. In the same way a layer whose outputs must keep their width, whatever holds them, may
lose filters alone; and a stream gets channels of its own behind a shortcut: see `parted`.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ...archs.units import Expand, Merge, PadShortcut
from ..devices import device_of, first_weight
from ..modules.guests import EXPANSIONS
from ..modules.inputs import Takes, answer, inputs_of
from .records import NodeRecord
from .rules_elementwise import RESIDUAL_OPS
from .trace import Trace, trace
from .walk import OUTPUT

COPIES = "each branch narrowed by scatter is copied once to the full width of its stream before it is added"
HELD = "what scatter narrows before something that needs the full width is copied to that width once"

# What a branch may end with, to be expanded to the width of its stream where it is added.
_ENDS = frozenset(
    {"linear", "batch_norm", "group_norm", "instance_norm"}
    | {f"conv{transposed}{rank}d" for transposed in ("", "_transpose") for rank in (1, 2, 3)}
)
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear, nn.GroupNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True, eq=False)
class View:
    """A network as pruning sees it.

    Attributes:
        model: computes the same; with `scatter` a copy that says where every branch goes.
        traced: its trace.
        merges: name of each residual addition that was given an index -> width of its stream.
        expansions: names of the modules that were given an expansion.
        shortcuts: name of each shortcut that needs an index only where channels left on one side of it -> a
            tensor and one of its axes, which is as long as what comes in is wide.
        notes: what a user should know about it.
    """

    model: nn.Module
    traced: Trace
    merges: Mapping[str, int] = field(default_factory=dict)
    expansions: tuple[str, ...] = ()
    shortcuts: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def close(self, model: nn.Module) -> nn.Module:
        """Take out of a narrowed copy of `model`, in place, what stayed without effect; returns it."""
        for name, width in self.merges.items():
            merge = model.get_submodule(name)
            assert isinstance(merge, Merge)
            if _is_trivial(merge.index, width):
                merge.index = None
        for name in self.expansions:
            expand = EXPANSIONS.placed(model)[name]
            if _is_trivial(expand.index, len(expand.index)):
                EXPANSIONS.take_away(model, [name])
        state = model.state_dict()
        for name, (tensor, dim) in self.shortcuts.items():
            shortcut = model.get_submodule(name)
            assert isinstance(shortcut, PadShortcut)
            if _is_trivial(shortcut.index, state[tensor].shape[dim]):
                shortcut.index = None
        return model


def view(
    model: nn.Module, traced: Trace, takes: Takes, residual: str, pinned: Collection[int] | None = None
) -> View:
    """The network under a residual mode.

    Args:
        model: left as it is.
        traced: its trace for what it takes.
        residual: `internal` and `coupled` see the network as it is; in `scatter` a layer whose outputs are
            added into a stream, or cannot lose channels where they go, may lose filters alone. Layers whose
            outputs go elsewhere too stay tied to the stream, unless a `Merge` receives them.
        pinned: the channels that cannot leave, where more is known of them than `traced` says.
    """
    if residual != "scatter":
        return View(model, traced, shortcuts=_indexed_shortcuts(model, traced))
    opened = copy.deepcopy(model)
    widths = _widths(opened, Merge, takes)
    merges: dict[str, int] = {}
    expansions: list[str] = []
    for name, width in widths.items():
        merge = opened.get_submodule(name)
        assert isinstance(merge, Merge)
        if merge.index is None:
            merge.index = torch.arange(width, device=device_of(model))
            merges[name] = width
        if merge.expand is None:
            expansions.append(name)
    branches = _lone_branches(opened, traced)
    held = _held(opened, traced, traced.map.pinned if pinned is None else pinned) if not widths else {}
    lone = {name: width for name, width in (branches | held).items() if name not in EXPANSIONS.placed(opened)}
    for name, width in ({name: widths[name] for name in expansions} | lone).items():
        EXPANSIONS.place(opened, name, Expand(width).to(device_of(model)))
    return View(
        opened,
        trace(opened, takes),
        merges,
        (*expansions, *lone),
        _indexed_shortcuts(model, traced),
        (*((COPIES,) if branches.keys() & lone else ()), *((HELD,) if lone.keys() - branches else ())),
    )


def passing_shortcuts(model: nn.Module) -> list[str]:
    """The shortcuts that pass all channels on as they are: what lies before and behind is one stream."""
    return [name for name, m in model.named_modules() if isinstance(m, PadShortcut) and m.index is None]


def parted(model: nn.Module, takes: Takes) -> nn.Module:
    """A copy that computes the same, in which every `PadShortcut` says by an index which channels pass.

    The stream behind it then has channels of its own: what leaves before it reads as zero behind it, and what
    leaves behind it is cropped.
    """
    model = copy.deepcopy(model)
    passing = passing_shortcuts(model)
    for name, width in _widths(model, PadShortcut, takes).items():
        if name in passing:
            shortcut = model.get_submodule(name)
            assert isinstance(shortcut, PadShortcut)
            shortcut.index = torch.arange(width, device=device_of(model))
    return model


def _indexed_shortcuts(model: nn.Module, traced: Trace) -> dict[str, tuple[str, int]]:
    """See `View.shortcuts`."""
    found: dict[str, tuple[str, int]] = {}
    for index in traced.map.indices:
        name = index.name.rpartition(".")[0]
        shortcut = model.get_submodule(name)
        if isinstance(shortcut, PadShortcut) and shortcut.keeps_width:
            axes = ((tensor, axis) for tensor, axes in traced.map.axes.items() for axis in axes)
            as_long = [(tensor, a.dim) for tensor, a in axes if np.array_equal(a.ids, index.target_ids)]
            if as_long:
                found[name] = as_long[0]
    return found


def _widths(model: nn.Module, kind: type[nn.Module], takes: Takes) -> dict[str, int]:
    """The name of every module of a kind -> the channels that it returns, seen in one pass."""
    widths: dict[str, int] = {}

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def note(_: nn.Module, __: object, out_NCHW: torch.Tensor) -> None:
            widths[name] = out_NCHW.shape[1]

        return module.register_forward_hook(note)

    hooks = [watch(name, m) for name, m in model.named_modules() if isinstance(m, kind)]
    training = model.training
    with torch.no_grad():
        answer(model.eval(), inputs_of(takes).make(first_weight(model)))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return widths


def _lone_branches(model: nn.Module, traced: Trace) -> dict[str, int]:
    """Modules whose whole output goes into one residual addition that is no `Merge`, and their widths."""
    made = {record.name: record for record in traced.records}
    found: dict[str, int] = {}
    for record in traced.records:
        if record.op not in RESIDUAL_OPS or _is_merge(model, record):
            continue
        for source in (made[name] for name in record.inputs if name in made):
            if len(traced.readers[source.name]) == 1 and _ends(model, traced, source):
                found[source.module] = _width(model, source)
    return found


def _held(model: nn.Module, traced: Trace, pinned: Collection[int]) -> dict[str, int]:
    """The last modules before something that some of their channels cannot leave, and their widths.

    What the network returns is nobody's to narrow.
    """
    held = {i for i in pinned if traced.map.pinned.get(i) != OUTPUT}
    found: dict[str, int] = {}
    for record in traced.records:
        if not held.isdisjoint(np.unique(record.value.ids).tolist()) and _ends(model, traced, record):
            inside = [r for r in traced.records if f"{r.module}.".startswith(f"{record.module}.")]
            if _width(model, record) > 1 and not _reaches_another_end(inside[-1], traced):
                found[record.module] = _width(model, record)
    return found


def _reaches_another_end(record: NodeRecord, traced: Trace) -> bool:
    """Do its channels go, by way of pointwise ops alone, into one more layer that passes them on?"""
    channels = np.unique(record.value.ids)
    while len(traced.readers[record.name]) == 1:
        (record,) = traced.readers[record.name]
        if not np.array_equal(np.unique(record.value.ids), channels):
            return False
        if record.op in _ENDS:
            return True
        if not record.pointwise or not record.value.reads_zero:
            return False
    return False


def _ends(model: nn.Module, traced: Trace, record: NodeRecord) -> bool:
    """Is it made by a layer, or by a module that does nothing else, that is called once?"""
    if record.op not in _ENDS or not record.module:
        return False
    calls = [other.op for other in traced.records if other.module == record.module]
    layer = isinstance(model.get_submodule(record.module), _LAYERS)
    return len(calls) == 1 or (layer and calls.count(record.op) == 1)


def _is_merge(model: nn.Module, record: NodeRecord) -> bool:
    return isinstance(model.get_submodule(record.module), Merge)


def _width(model: nn.Module, record: NodeRecord) -> int:
    return record.value.shape[-1 if isinstance(model.get_submodule(record.module), nn.Linear) else 1]


def _is_trivial(index: torch.Tensor | None, width: int) -> bool:
    return index is not None and index.tolist() == list(range(width))
