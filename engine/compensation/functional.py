"""An exported network without operations that change a tensor in place.

torch.export's own way is `run_decompositions`, which follows the network a second time, and prepares itself
for every operator that there is: it takes twice as long as the export. Of most networks all that has to be
done is a word or two in the graph that is there.
"""

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.node import Argument

from ..graph.nodes import op_name

aten = torch.ops.aten

# Operators that PyTorch composes of others, and that `run_decompositions({})` leaves as they are, but for
# batch norms. What their schemas do not say: these make tensors of their own memory,
FRESH = frozenset(
    """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul batch_norm
    group_norm layer_norm softmax scaled_dot_product_attention max_pool1d max_pool2d
    avg_pool1d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d relu6 prelu where pad cdist
    upsample_nearest2d upsample_bilinear2d upsample_bicubic2d grid_sampler
    gru lstm rnn_relu rnn_tanh gru_cell lstm_cell _weight_norm
    """.split()  # noqa: SIM905, a list of 34 lines
)
# and these may share memory with what they read.
SHARING = frozenset("split chunk swapaxes expand_as einsum instance_norm rms_norm".split())  # noqa: SIM905
DROPOUTS = ("dropout", "feature_dropout")
VIEWS = (aten.flatten.using_ints, aten.reshape.default, aten.unflatten.int, aten.view_as.default)
SHAPED = {**dict.fromkeys(VIEWS, aten.view.default), aten.expand_as.default: aten.expand.default}
COPYING = (aten.reshape.default, aten.flatten.using_ints, aten.contiguous.default)  # of another order
IN_PLACE = {
    aten.relu_.default: aten.relu.default,
    aten.relu6_.default: aten.relu6.default,
    aten.hardtanh_.default: aten.hardtanh.default,
    aten.hardswish_.default: aten.hardswish.default,
    aten.hardsigmoid_.default: aten.hardsigmoid.default,
    aten.silu_.default: aten.silu.default,
    aten.leaky_relu_.default: aten.leaky_relu.default,
    aten.elu_.default: aten.elu.default,
    aten.sigmoid_.default: aten.sigmoid.default,
    aten.clamp_.default: aten.clamp.default,
    aten.add_.Tensor: aten.add.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
}
RENAMED = {
    aten.lift_fresh_copy.default: aten.clone.default,
    aten.swapaxes.default: aten.transpose.int,
}
NORM = aten._native_batch_norm_legit_no_training.default


def functional(exported: ExportedProgram) -> ExportedProgram:
    """The same network in evaluation, whose operations only make new tensors; its graph may be rewritten.

    Batch norms become `_native_batch_norm_legit_no_training`, and dropout nothing at all.
    """
    graph = exported.graph
    operations = [node for node in graph.nodes if node.op == "call_function"]
    if not _is_simple(operations):
        return exported.run_decompositions({})
    for node in operations:
        if node.target in IN_PLACE:
            node.target = IN_PLACE[node.target]  # its name stays, and so that of what the network returns
            (changed, *_) = node.all_input_nodes
            changed.replace_all_uses_with(node, lambda user, after=node: after < user)
        elif node.target is aten.batch_norm.default:
            _normalise(graph, node)
        elif node.target in COPYING and _is_copy(node):
            _copy(graph, node)
        elif node.target in SHAPED:
            node.target, node.args = SHAPED[node.target], (node.args[0], list(node.meta["val"].shape))
        elif node.target is aten.chunk.default:
            x, _, dim = (*node.args, 0)[:3]
            node.target, node.args = aten.split.Tensor, (x, node.meta["val"][0].shape[dim], dim)
        elif node.target in RENAMED:
            node.target = RENAMED[node.target]
        elif op_name(node) in DROPOUTS:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    return exported


def _is_simple(operations: Sequence[fx.Node]) -> bool:
    """Is every operation known, and what is changed in place the one and only holder of its memory?"""
    first: dict[fx.Node, fx.Node] = {}  # by what is made in place: whose memory that is
    last: dict[fx.Node, fx.Node] = {}  # by whose memory it is: what changes it last
    for node in operations:
        if node.target in IN_PLACE:
            (changed, *_) = node.all_input_nodes
            first[node] = first.get(changed, changed)
            last[first[node]] = node
    return all(memory.op == "call_function" and _is_fresh(memory) for memory in last) and all(
        _is_known(node) and (_is_fresh(node) or _comes_later(node, first, last)) for node in operations
    )


def _is_known(node: fx.Node) -> bool:
    match name := op_name(node):
        case "batch_norm":
            return not node.args[5]  # in training mode it would keep statistics
        case _ if node.target in (*VIEWS, *COPYING):
            return _is_view(node) or _is_copy(node)
        case _ if name in DROPOUTS:
            return not node.args[2] and all(user.op != "output" for user in node.users)
        case _:
            if node.target in IN_PLACE:
                return len({source.meta["val"].dtype for source in (node, *node.all_input_nodes)}) == 1
            mutable = getattr(getattr(node.target, "_schema", None), "is_mutable", False)
            return not mutable and name != "detach" and (name in FRESH | SHARING or _is_primitive(node))


def _is_view(node: fx.Node) -> bool:
    """Is another shape all that it gives its tensor? Else it copies, or does nothing."""
    x, value = node.all_input_nodes[0].meta["val"], node.meta["val"]
    return x.shape != value.shape and _can_be_viewed(x, value.shape)


def _can_be_viewed(x: Tensor, shape: Sequence[int]) -> bool:
    try:
        return x.view(shape) is not None
    except (RuntimeError, ValueError):
        return False


def _is_copy(node: fx.Node) -> bool:
    """Does it lay a tensor out anew, in the usual order?"""
    x, value = node.all_input_nodes[0].meta["val"], node.meta["val"]
    if node.target is aten.contiguous.default:
        return len(node.args) == 1 and not node.kwargs and not x.is_contiguous()
    return node.target in COPYING and not _can_be_viewed(x, value.shape)


def _is_primitive(node: fx.Node) -> bool:
    """Is it an operator with kernels of its own, or what takes one tensor out of several?"""
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    composed = "CompositeImplicitAutograd"
    return not torch._C._dispatch_has_kernel_for_dispatch_key(node.target.name(), composed)


def _is_fresh(node: fx.Node) -> bool:
    if node.target in IN_PLACE or op_name(node) in FRESH or (node.target in COPYING and _is_copy(node)):
        return True
    returned = getattr(getattr(node.target, "_schema", None), "returns", None)
    return _is_primitive(node) and bool(returned) and all(made.alias_info is None for made in returned)


def _comes_later(node: fx.Node, first: dict[fx.Node, fx.Node], last: dict[fx.Node, fx.Node]) -> bool:
    """Is what it reads, and may share the memory of, changed no more?"""
    read = (first.get(source, source) for source in node.all_input_nodes)
    return all(last[memory] < node for memory in read if memory in last)


def _copy(graph: fx.Graph, node: fx.Node) -> None:
    """Turn what lays a tensor out anew into a copy, and a view of that if it gets another shape too."""
    (x,) = node.all_input_nodes
    in_order: dict[str, Argument] = {"memory_format": torch.contiguous_format}
    if node.target is aten.contiguous.default:
        node.target, node.args, node.kwargs = aten.clone.default, (x,), in_order
        return
    shape = list(node.meta["val"].shape)
    with graph.inserting_before(node):
        copy = graph.call_function(aten.clone.default, (x,), in_order)
    copy.meta = {**node.meta, "val": x.meta["val"].clone(memory_format=torch.contiguous_format)}
    node.target, node.args = aten._unsafe_view.default, (copy, shape)


def _normalise(graph: fx.Graph, node: fx.Node) -> None:
    """Turn a batch norm into the first of three tensors that the operator for evaluation makes."""
    x, weight, bias, mean, variance, _, momentum, eps, *_ = node.args
    value = node.meta["val"]
    with graph.inserting_before(node):
        made = graph.call_function(NORM, (x, weight, bias, mean, variance, momentum, eps))
    made.meta = {**node.meta, "val": (value, value.new_empty(0), value.new_empty(0))}
    node.target, node.args, node.kwargs = operator.getitem, (made, 0), {}
