"""How weights learn: what is to be learnt, at which rate, and one step of it."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ..processes.synchronised_norm import synchronised_norms
from .config import TrainConfig
from .hooks import Hooks
from .losses import classification_loss, distillation_loss
from .optimizer import LrSchedule, build_sgd, set_rate
from .precision import Precision


class Learner:
    """The optimizer of a network's weights, its learning rates and its loss.

    Attributes:
        rates: the learning rate of every step.
        teacher: whose answers are learnt beside the labels, in evaluation mode; None for labels alone.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        teacher: nn.Module | None,
        hooks: Hooks,
        *,
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        self.teacher = teacher.to(device).eval() if teacher is not None else None
        self.optimizer = build_sgd(
            model,
            rule=config.decay_rule,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
        self.rates = LrSchedule(
            kind=config.lr_schedule,
            rate=config.lr,
            epochs=config.cycle,
            steps_per_epoch=steps_per_epoch,
            warmup_epochs=config.warmup_epochs,
            milestones=config.milestones,
            gamma=config.gamma,
        )
        self._config, self._hooks, self._device = config, hooks, device

    def step(
        self, model: nn.Module, step: int, images_NCHW: Tensor, labels_N: Tensor, precision: Precision
    ) -> tuple[Tensor, Tensor]:
        """One update of the weights; mean loss and hits of this process's batch, still on the device."""
        config = self._config
        set_rate(self.optimizer, self.rates.rate_at(step))
        with precision.autocast(self._device), synchronised_norms() if config.sync_bn else nullcontext():
            outputs = model(images_NCHW)
        logits_NK = outputs if isinstance(outputs, Tensor) else outputs[0]
        loss = classification_loss(outputs, labels_N, config.label_smoothing)
        if self.teacher is not None:
            with torch.no_grad(), precision.autocast(self._device):
                taught_NK = self.teacher(images_NCHW)
            distilled = distillation_loss(logits_NK, taught_NK, config.distill_temperature)
            loss = torch.lerp(loss, distilled, config.distill_alpha)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._hooks.after_backward(step)
        self.optimizer.step()
        return loss.detach(), (logits_NK.detach().argmax(1) == labels_N).sum()
