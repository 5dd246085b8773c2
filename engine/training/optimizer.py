"""Stochastic gradient descent: which parameters decay, how fast each learns, and the learning rate."""

import math
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import SGD

DECAY_RULES = ("all", "resrep")
LR_SCHEDULES = ("cosine", "multistep")

COMPACTOR_MOMENTUM = 0.99
BIAS_RATE = 2.0  # times the learning rate


def build_sgd(
    model: nn.Module, *, rule: str, momentum: float, weight_decay: float, nesterov: bool = False
) -> SGD:
    """SGD over the trainable parameters, grouped by a decay rule; `set_rate` gives it a learning rate.

    `all` decays every parameter alike. `resrep` (Ding et al., ICCV 2021, arXiv 2007.03260, as the authors
    train) decays weights of convolutions and linear layers only; biases, BN's too, learn at twice the rate;
    compactors, the modules named `compactor`, have no decay and momentum 0.99.
    """
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter, module in _owned_parameters(model):
        if not parameter.requires_grad:
            continue
        decays, scale, inertia = True, 1.0, momentum
        if rule == "resrep":
            compactor = "compactor" in name.split(".")
            decays = isinstance(module, _ConvNd | nn.Linear) and name.endswith("weight") and not compactor
            scale = BIAS_RATE if name.endswith("bias") else 1.0
            inertia = COMPACTOR_MOMENTUM if compactor else momentum
        groups.setdefault((weight_decay if decays else 0.0, scale, inertia), []).append(parameter)
    return SGD(
        [
            {"params": parameters, "weight_decay": decay, "rate_scale": scale, "momentum": inertia}
            for (decay, scale, inertia), parameters in groups.items()
        ],
        lr=0.0,
        momentum=momentum,
        nesterov=nesterov,
    )


def _owned_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter, nn.Module]]:
    """Each parameter once, with its full name and the module that holds it."""
    modules = dict(model.named_modules(remove_duplicate=False))
    return [
        (name, parameter, modules[name.rpartition(".")[0]]) for name, parameter in model.named_parameters()
    ]


def set_rate(optimizer: SGD, rate: float) -> None:
    """Let every group learn at `rate` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_scale"]


@dataclass(frozen=True)
class LrSchedule:
    """The learning rate as a pure function of the step, so that resuming needs no state.

    Attributes:
        kind: `cosine`, from `rate` to 0 at the end of the last epoch, or `multistep`.
        epochs: its length; after the last one it begins anew.
        milestones: epochs after which `multistep` multiplies the rate by `gamma`.
        warmup_epochs: the rate first rises linearly for so long.
    """

    kind: str
    rate: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: int = 0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over the whole training.

        Cosine: Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983, Eq. 5.
        """
        step %= self.epochs * self.steps_per_epoch
        warmup = self.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.rate * (step + 1) / warmup
        if self.kind == "multistep":
            passed = sum(step >= milestone * self.steps_per_epoch for milestone in self.milestones)
            return self.rate * self.gamma**passed
        progress = (step - warmup) / (self.epochs * self.steps_per_epoch - warmup)
        return self.rate * (1 + math.cos(math.pi * progress)) / 2
