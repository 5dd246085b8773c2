"""How much the loss would change without each filter, to first order (Molchanov et al., CVPR 2019)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import CriterionError
from ..graph.channels import Layer
from ..graph.filters import scored_layers
from ..graph.trace import Trace
from ..modules.attention import in_plain_sight
from ..modules.inputs import Call, answer

NEEDS = "images"

_LINEAR = frozenset({nn.functional.linear})
Loss = Callable[[Any, Any], Tensor]

_CONVOLUTIONS = frozenset(
    {
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.conv_transpose2d,
        torch.conv_transpose3d,
    }
)


def taylor_scores(contributions_NF: Tensor) -> Tensor:
    """Score each filter by the mean over images of (sum over the filter of gradient times weight) squared.

    Molchanov et al., CVPR 2019, arXiv 1906.10771, Eq. 8: the squared change of the loss when the whole filter
    goes.

    Departs from the authors' code: gradients are taken per image, not per mini-batch, so that the score does
    not depend on the batch size.

    Args:
        contributions_NF: per image and filter, the sum over the filter of gradient times weight.

    Returns:
        scores_F, float64, in squared units of the loss.
    """
    return contributions_NF.double().square().mean(0)


class _Gates(TorchFunctionMode):
    """Multiplies every filter's output by a gate of 1 per image.

    The gradient at a gate is the sum over that filter of gradient times weight, of that image alone: the
    output is linear in the filter. One backward pass of the batch thus serves every image.
    """

    def __init__(self, layers: dict[int, Layer], images: int):
        super().__init__()
        self._layers, self._images = layers, images
        self.gates: dict[str, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS and func not in _LINEAR:
            return func(*args, **kwargs)
        images, weight, bias, rest = _arguments(args, kwargs)
        layer = self._layers.get(id(weight))
        if layer is None:
            return func(*args, **kwargs)
        output = func(images, weight, None, *args[3:], **rest)
        per_pixel = (1,) * (output.dim() - 2)
        if func in _LINEAR:
            gate_NF = self._gate(layer, output, self._images, output.shape[-1])
            output = output * gate_NF.reshape(len(gate_NF), *per_pixel, -1)
            return output if bias is None else output + bias
        gate_NF = self._gate(layer, output, *output.shape[:2])
        output = output * gate_NF.reshape(*gate_NF.shape, *per_pixel)
        return output if bias is None else output + bias.reshape(-1, *per_pixel)

    def _gate(self, layer: Layer, like: Tensor, images: int, filters: int) -> Tensor:
        """The layer's gates, made at its first use."""
        if layer.name not in self.gates:
            self.gates[layer.name] = like.new_ones(images, filters).requires_grad_()
        return self.gates[layer.name]


def _arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor | None, dict[str, Any]]:
    """The input, weight and bias of a call, and its other keywords."""
    named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    rest = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}
    return named["input"], named["weight"], named.get("bias"), rest


@torch.enable_grad()
def score_sums(
    model: nn.Module, trace: Trace, images_NCHW: Tensor | Call, labels_N: Any, loss: Loss | None = None
) -> dict[str, Tensor]:
    """First-order Taylor scores of every layer's filters, for the cross-entropy loss or another.

    See `taylor_scores`; here summed over a batch. Batch normalisation uses its running statistics, so images
    do not mix. Where linear layers read many tokens of an image, images go one by one: tokens may stand on
    any axis, and only so it is sure whose they are.

    Args:
        loss: from what the network returns, and what came with the images, to one number, summed over them.

    Raises:
        CriterionError: images without labels, or a layer whose weight is not used as it is stored.
    """
    if loss is None and len(labels_N) != len(images_NCHW):
        raise CriterionError(
            f"taylor needs a label for every image, and got {len(labels_N)} for {len(images_NCHW)}"
        )
    parameters = dict(model.named_parameters(remove_duplicate=False))
    layers = {id(parameters[layer.weight]): layer for layer in scored_layers(trace.map)}
    tokens = any(layer.kind == "linear" and layer.positions > 1 for layer in layers.values())
    together = [(images_NCHW, labels_N)]
    sums: dict[str, Tensor] = {}
    for images, labels in _one_by_one(images_NCHW, labels_N) if tokens else together:
        contributions = _contributions(model, layers, images, labels, loss or _cross_entropy)
        for name, contributions_NF in contributions.items():
            sums_F = taylor_scores(contributions_NF) * len(images)
            sums[name] = sums[name] + sums_F if name in sums else sums_F
    return sums


def _one_by_one(given: Tensor | Call, targets: Any) -> Iterator[tuple[Tensor | Call, Any]]:
    """Every image, or other sample, of a batch by itself, with its targets."""
    samples = len(given)
    for one in range(samples):

        def own(tensor: Tensor, one: int = one) -> Tensor:
            return tensor[one : one + 1] if tensor.dim() and len(tensor) == samples else tensor

        mine = pytree.tree_map_only(Tensor, own, targets)
        if isinstance(given, Call):
            args, kwargs = pytree.tree_map_only(Tensor, own, (given.args, dict(given.kwargs)))
            yield Call(args, kwargs, 1), mine
        else:
            yield own(given), mine


def _cross_entropy(logits_NK: Any, labels_N: Tensor) -> Tensor:
    if not isinstance(logits_NK, Tensor) or logits_NK.dim() != 2:
        raise CriterionError(
            "taylor needs a `loss`, a function of what the network returns and of its targets: this network "
            "returns no row of logits per image"
        )
    return nn.functional.cross_entropy(logits_NK, labels_N, reduction="sum")


def _contributions(
    model: nn.Module, layers: dict[int, Layer], images_NCHW: Tensor | Call, labels_N: Any, loss: Loss
) -> dict[str, Tensor]:
    with in_plain_sight(model), _Gates(layers, len(images_NCHW)) as mode:
        returned = answer(model, images_NCHW)
    unseen = [layer.name for layer in layers.values() if layer.name not in mode.gates]
    if unseen:
        raise CriterionError(
            f"taylor needs layers that use their weight as stored; not so: {', '.join(unseen)}"
        )
    gradients = torch.autograd.grad(loss(returned, labels_N), list(mode.gates.values()), allow_unused=True)
    return {
        name: torch.zeros_like(gate_NF) if gradient_NF is None else gradient_NF
        for (name, gate_NF), gradient_NF in zip(mode.gates.items(), gradients, strict=True)
    }
