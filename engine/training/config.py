"""The settings of a training."""

import math
from dataclasses import dataclass, fields
from typing import Any

from ..errors import TrainingError
from .optimizer import DECAY_RULES, LR_SCHEDULES
from .precision import PRECISIONS


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training can be told; the defaults are the ones for use outside ResRep.

    Attributes:
        epochs: passes over the training images.
        lr: peak learning rate.
        lr_schedule: `cosine` to 0, or `multistep`: times `gamma` after each epoch in `milestones`.
        warmup_epochs: the rate first rises linearly for so long.
        cycle_epochs: after every so many epochs all of this begins anew; None is one schedule for the whole
            training.
        label_smoothing: share of the target spread over all classes.
        decay_rule: `all` or `resrep`; see `optimizer.build_sgd`.
        precision: `auto`, `fp32` or `bf16`; `auto` takes bf16 where the device has instructions for it.
        channels_last: memory layout; None takes channels last with bf16.
        augment: flip, crop and the like, as the data set does it.
        sync_bn: batch norms take their statistics over the batches of all processes.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        distill_alpha: weight of the teacher's answers against the labels; 0 is no distillation.
        distill_temperature: how much both are softened.
    """

    epochs: int
    lr: float
    batch_size: int = 128
    eval_batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    lr_schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_epochs: int = 0
    cycle_epochs: int | None = None
    label_smoothing: float = 0.0
    decay_rule: str = "all"
    precision: str = "auto"
    channels_last: bool | None = None
    augment: bool = True
    sync_bn: bool = False
    seed: int = 0
    device: str = "auto"
    distill_alpha: float = 0.0
    distill_temperature: float = 4.0

    def __post_init__(self) -> None:
        """Refuse settings that no training could follow.

        Raises:
            TrainingError: names the first such setting.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise TrainingError(f"{field.name} is {value}; it must be a number")
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("lr", self.lr > 0, "above 0")
        self._require("batch_size", self.batch_size >= 2, "at least 2: batch norm needs more than one image")
        self._require("eval_batch_size", self.eval_batch_size >= 1, "at least 1")
        self._require("momentum", 0 <= self.momentum < 1, "from 0 to below 1")
        self._require("weight_decay", self.weight_decay >= 0, "0 or more")
        self._require("nesterov", not self.nesterov or self.momentum > 0, "off where momentum is 0")
        self._require("lr_schedule", self.lr_schedule in LR_SCHEDULES, f"one of {', '.join(LR_SCHEDULES)}")
        self._require("gamma", 0 < self.gamma <= 1, "above 0 and at most 1")
        cycle = self.cycle
        self._require(
            "cycle_epochs", cycle > 0 and self.epochs % cycle == 0, f"a divisor of {self.epochs} epochs"
        )
        self._require("warmup_epochs", 0 <= self.warmup_epochs < cycle, f"from 0 to {cycle - 1}")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1")
        self._require("decay_rule", self.decay_rule in DECAY_RULES, f"one of {', '.join(DECAY_RULES)}")
        self._require("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        self._require("seed", self.seed >= 0, "0 or more")
        self._require("distill_alpha", 0 <= self.distill_alpha <= 1, "from 0 to 1")
        self._require("distill_temperature", self.distill_temperature > 0, "above 0")
        self._require_milestones()

    @property
    def cycle(self) -> int:
        """How many epochs one schedule of the learning rate takes."""
        return self.epochs if self.cycle_epochs is None else self.cycle_epochs

    def _require_milestones(self) -> None:
        if self.lr_schedule == "multistep" and not self.milestones:
            raise TrainingError("lr_schedule 'multistep' needs milestones, where the rate falls")
        inside = all(0 < milestone < self.cycle for milestone in self.milestones)
        rising = list(self.milestones) == sorted(set(self.milestones))
        self._require("milestones", inside and rising, f"rising epochs from 1 to {self.cycle - 1}")
        self._require(
            "lr_schedule",
            not self.milestones or self.lr_schedule == "multistep",
            f"'multistep' where milestones {', '.join(map(str, self.milestones))} are given",
        )

    def _require(self, name: str, met: bool, allowed: str) -> None:
        if not met:
            value: Any = getattr(self, name)
            raise TrainingError(f"{name} is {value!r}; it must be {allowed}")
