"""A network called once, to see whether it runs and what it answers."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...weights.errors import first_line
from ..devices import first_weight
from ..errors import FitError
from ..modules.eval_mode import eval_mode
from ..modules.inputs import Inputs, Takes, answer, inputs_of, leaves_of, tensors_of
from .network import Network

ALIKE = 1e-4  # relative, in whatever type the network computes in


def answer_of(model: nn.Module, takes: Takes) -> Any:
    """What a network returns for one blank image, or for a call of the looks it takes.

    Raises:
        FitError: it does not run on such, which names the module.
    """
    inputs = inputs_of(takes)
    if inputs.images:
        inputs = inputs.with_batch(1)
    reached: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: reached.append(name))
        for name, module in model.named_modules()
    ]
    try:
        with eval_mode(model), torch.no_grad():
            return answer(model, inputs.make(first_weight(model)))
    except Exception as error:  # whatever the network's own code raises
        where = f" in '{reached[-1]}'" if any(reached) else ""
        what = f"a {'x'.join(map(str, inputs.args[0].shape[1:]))} image" if inputs.images else f"{inputs}"
        raise FitError(f"it does not run on {what}{where}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()


def tried(network: Network) -> Network:
    """The network, and what it answers when it is called once.

    Raises:
        FitError: it does not run.
    """
    classes = logits_width(answer_of(network.model, network.takes))
    return replace(network, num_classes=classes or network.num_classes, classifies=classes is not None)


def logits_width(returned: Any) -> int | None:
    """How many classes an answer tells apart, if it is rows of logits, one per image."""
    return returned.shape[1] if isinstance(returned, Tensor) and returned.dim() == 2 else None


@torch.no_grad()
def answers_alike(one: nn.Module, other: nn.Module, takes: Takes) -> bool:
    """Do two networks return the same, but for rounding?

    Raises:
        FitError: the first does not run.
    """
    answer_of(one, takes)
    inputs, answers = inputs_of(takes).single(), list[list[Tensor]]()
    for model in (one, other):
        with eval_mode(model), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            answers.append(tensors_of(answer(model, inputs.make(first_weight(model), seed=0))))
    return all(_alike(a, b) for a, b in zip(*answers, strict=True))


def _alike(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not (one.is_floating_point() or one.is_complex()) or not one.numel():
        return torch.equal(one, other)
    far = (one - other).abs().nan_to_num().max()  # a network of fresh weights may overflow, in both
    return bool(far <= ALIKE * one.abs().nan_to_num().max())


def in_pairs(model: nn.Module, inputs: Inputs) -> Inputs:
    """The same inputs for two samples instead of one, if the network takes them: one is special to some."""
    if {like.shape[0] for like in leaves_of(inputs) if like.shape} != {1}:
        return inputs
    try:
        answer_of(model, inputs.with_batch(2))
    except FitError:
        return inputs
    return inputs.with_batch(2)
