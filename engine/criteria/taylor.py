"""How much the loss would change without each filter, to first order (Molchanov et al., CVPR 2019)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import CriterionError
from ..graph.channels import Layer
from ..graph.filters import scored_layers
from ..graph.trace import Trace
from ..modules.inputs import Call, answer

NEEDS = "images"

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

    def __init__(self, layers: dict[int, Layer]):
        super().__init__()
        self._layers = layers
        self.gates: dict[str, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS:
            return func(*args, **kwargs)
        images, weight, bias, rest = _arguments(args, kwargs)
        layer = self._layers.get(id(weight))
        if layer is None:
            return func(*args, **kwargs)
        output = func(images, weight, None, *args[3:], **rest)
        gate_NF = self.gates.get(layer.name)
        if gate_NF is None:
            gate_NF = output.new_ones(output.shape[:2]).requires_grad_()
            self.gates[layer.name] = gate_NF
        per_pixel = (1,) * (output.dim() - 2)
        output = output * gate_NF.reshape(*gate_NF.shape, *per_pixel)
        return output if bias is None else output + bias.reshape(-1, *per_pixel)


def _arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor | None, dict[str, Any]]:
    """A convolution call's input, weight, bias, and its other keywords."""
    named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    rest = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}
    return named["input"], named["weight"], named.get("bias"), rest


@torch.enable_grad()
def score_sums(
    model: nn.Module, trace: Trace, images_NCHW: Tensor | Call, labels_N: Any, loss: Loss | None = None
) -> dict[str, Tensor]:
    """First-order Taylor scores of every convolution's filters, for the cross-entropy loss or another.

    See `taylor_scores`; here summed over a batch. Batch normalisation uses its running statistics, so images
    do not mix.

    Args:
        loss: from what the network returns, and what came with the images, to one number, summed over them.

    Raises:
        CriterionError: images without labels, or a convolution whose weight is not used as it is stored.
    """
    if loss is None and len(labels_N) != len(images_NCHW):
        raise CriterionError(
            f"taylor needs a label for every image, and got {len(labels_N)} for {len(images_NCHW)}"
        )
    parameters = dict(model.named_parameters(remove_duplicate=False))
    layers = {id(parameters[layer.weight]): layer for layer in scored_layers(trace.map)}
    contributions = _contributions(model, layers, images_NCHW, labels_N, loss or _cross_entropy)
    return {
        name: taylor_scores(contributions_NF) * len(images_NCHW)
        for name, contributions_NF in contributions.items()
    }


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
    with _Gates(layers) as mode:
        returned = answer(model, images_NCHW)
    unseen = [layer.name for layer in layers.values() if layer.name not in mode.gates]
    if unseen:
        raise CriterionError(
            f"taylor needs convolutions that use their weight as stored; not so: {', '.join(unseen)}"
        )
    gradients = torch.autograd.grad(loss(returned, labels_N), list(mode.gates.values()), allow_unused=True)
    return {
        name: torch.zeros_like(gate_NF) if gradient_NF is None else gradient_NF
        for (name, gate_NF), gradient_NF in zip(mode.gates.items(), gradients, strict=True)
    }
