"""Exported programs kept over a session: tests trace the same few networks thousands of times.

`torch.export` takes three quarters of the time of pruning a small network. What it returns depends on the
code of the network, on what its modules keep beside tensors, on the kinds of its tensors, and on the contents
of those that are no weights. Networks that are alike in all of these share one program; one that keeps
anything whose meaning cannot be compared, such as a hook or a closure, is exported every time.
`PRUNE_EXPORT_ALWAYS=1` turns this off.
"""

import functools
import types
from collections.abc import Callable, Hashable, Iterator
from time import process_time
from typing import Any

import torch
from torch import Tensor, fx, nn

ROOM = 200  # programs; those of large networks hold some MB each
LONG = 0.3  # seconds of an export, which is then kept beside those that took less
REGISTERED = ("_parameters", "_buffers", "_modules")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
PLAIN = (int, float, complex, str, bytes, torch.dtype, torch.device, torch.memory_format, type(None), type)


class Incomparable(Exception):
    """Something is kept whose meaning cannot be told from its looks."""


class Kept:
    """Programs by what they depend on, the latest of them."""

    def __init__(self) -> None:
        self._quick: dict[Hashable, Any] = {}
        self._slow: dict[Hashable, Any] = {}

    def get(self, key: Hashable, export: Callable[[], Any]) -> Any:
        """The program that is known by `key`, exported where there is none."""
        for known in (self._quick, self._slow):
            if key in known:
                known[key] = known.pop(key)  # the latest again
                return known[key]
        began = process_time()
        program = export()
        kept = self._slow if process_time() - began > LONG else self._quick
        if len(kept) == ROOM:
            del kept[next(iter(kept))]
        _lighten(program.graph)
        # Without the program's own weights: they would keep every network alive.
        lifted = program.graph_signature.inputs_to_lifted_tensor_constants.values()
        kept[key] = types.SimpleNamespace(
            graph=program.graph,
            graph_signature=program.graph_signature,
            call_spec=program.call_spec,
            constants={name: program.constants[name] for name in lifted},
        )
        return kept[key]


def _lighten(graph: fx.Graph) -> None:
    """Keep of every node what somebody reads, and of what looks the same only one.

    Whoever asks the garbage collector for all objects, as `prune.prune` does for optimizers, sees these too.
    """
    shared: dict[Hashable, Any] = {}
    for node in graph.nodes:
        if isinstance(made := node.meta.get("val"), Tensor):
            bare = torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device="meta")
            node.meta["val"] = shared.setdefault((bare.shape, bare.stride(), bare.dtype), bare)
        kept = {
            kind: node.meta[kind] for kind in ("val", "stack_trace", "nn_module_stack") if kind in node.meta
        }
        if modules := kept.get("nn_module_stack"):
            kept["nn_module_stack"] = shared.setdefault(tuple(modules.items()), modules)
        node.meta = kept


def sharing(export: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.export.export`, asked once for networks that are alike."""
    programs = Kept()

    @functools.wraps(export)
    def shared(model: nn.Module, images: tuple[Tensor, ...], **options: Any) -> Any:
        if options.get("kwargs") or not all(isinstance(given, Tensor) for given in images):
            return export(model, images, **options)
        try:
            key = (likeness(model), tuple(kind(tensor) for tensor in images), looks(options))
        except Incomparable:
            return export(model, images, **options)
        return programs.get(key, lambda: export(model, images, **options))

    return shared


def sharing_of_inputs(exported: Callable[..., Any]) -> Callable[..., Any]:
    """Of a network and the looks of what it takes to a program, asked once for networks that are alike.

    Every answer has nodes of its own: two networks that are alike may be computed side by side.
    """
    programs = Kept()

    @functools.wraps(exported)
    def shared(model: nn.Module, takes: Any) -> Any:
        try:
            key = (likeness(model), repr(takes))
        except Incomparable:
            return exported(model, takes)
        known = programs.get(key, lambda: exported(model, takes))
        graph = fx.Graph()
        graph.output(graph.graph_copy(known.graph, {}))
        return types.SimpleNamespace(**{**vars(known), "graph": graph})

    return shared


def likeness(model: nn.Module) -> Hashable:
    """What an export depends on; equal for networks that give the same program.

    Raises:
        Incomparable: this cannot be told.
    """
    return tuple(_modules(model)), tuple(_tensors(model))


def _modules(model: nn.Module) -> Iterator[Hashable]:
    first: dict[int, int] = {}
    for number, (name, module) in enumerate(model.named_modules(remove_duplicate=False)):
        own = {
            key: value
            for key, value in vars(module).items()
            if key not in ("_parameters", "_buffers", "_modules")
        }
        yield name, first.setdefault(id(module), number), type(module), type(module).forward, looks(own)


def _tensors(model: nn.Module) -> Iterator[Hashable]:
    first: dict[int, int] = {}
    for kept in (model.named_parameters, model.named_buffers):
        for name, tensor in kept(remove_duplicate=False):
            content = None
            if kept == model.named_buffers and not name.endswith(STATISTICS) and not tensor.is_meta:
                content = str(tensor.tolist())
            yield name, first.setdefault(id(tensor), len(first)), kind(tensor), content


def kind(tensor: Tensor) -> Hashable:
    return type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad


def looks(value: Any) -> Hashable:
    """A value in a form that can be compared.

    Raises:
        Incomparable: it has none.
    """
    match value:
        case dict():
            return type(value), tuple((looks(key), looks(item)) for key, item in value.items())
        case list() | tuple():
            return type(value), tuple(looks(item) for item in value)
        case set() | frozenset():
            return type(value), frozenset(looks(item) for item in value)
        case functools.partial():
            return functools.partial, looks(value.func), looks(value.args), looks(value.keywords)
        case types.FunctionType() if value.__closure__ is None:
            return value
        case types.BuiltinFunctionType() if value.__self__ is None or isinstance(
            value.__self__, types.ModuleType
        ):
            return value
        case _ if isinstance(value, PLAIN):
            return type(value), value
        case _:
            raise Incomparable(type(value).__name__)
