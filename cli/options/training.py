"""How to train."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .group import SHARE, Group, option, setting
from .images import BatchSize, EvalBatchSize

if TYPE_CHECKING:
    from ...engine.training.config import TrainConfig

Recalibrate = Annotated[
    int,
    option("Training", "--recalibrate", "BATCHES", "Training batches to re-estimate BN on; 0: none.", min=0),
]


def epoch_list(text: str) -> tuple[int, ...]:
    """Read epochs written as `80,120`.

    Raises:
        typer.BadParameter: something between the commas is not a whole number above zero.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise typer.BadParameter(f"'{text}' is no list of epochs; write them like 80,120")
    return tuple(map(int, words))


@dataclass(frozen=True)
class Training(Group, panel="Training"):
    """What a training can be told; a field goes by the name of the engine's setting."""

    epochs: int | None = setting("N", "Passes over the training images.", min=1)
    lr: float | None = setting("RATE", "Learning rate at the start.", min=0)
    batch_size: BatchSize = None
    eval_batch_size: EvalBatchSize = None
    momentum: float | None = setting("SHARE", "Of SGD. Default: 0.9.", **SHARE)
    weight_decay: float | None = setting("RATE", "L2 penalty. Default: 0.0005.", min=0)
    decay_rule: Literal["all", "resrep"] | None = setting(
        None, "Decay all, or ResRep's way: no biases, no BN. Default: all."
    )
    nesterov: bool | None = setting(None, "Use Nesterov's momentum.")
    lr_schedule: Literal["cosine", "multistep"] | None = setting(
        None, "How the learning rate falls. Default: cosine."
    )
    milestones: Any = setting("EPOCHS", "Where multistep lowers the rate: 80,120.", parser=epoch_list)
    gamma: float | None = setting("FACTOR", "Multistep multiplies by it. Default: 0.1.", **SHARE)
    warmup_epochs: int | None = setting("N", "Epochs of linear rise first. Default: 0.", min=0)
    label_smoothing: float | None = setting("SHARE", "Taken from the true label. Default: 0.", **SHARE)
    no_augment: bool | None = setting(None, "Train on the images as they are.")
    precision: Literal["auto", "fp32", "bf16"] | None = setting(
        None, "Number format; auto: bf16 where it is native. Default: auto."
    )
    layout: Literal["auto", "plain", "channels-last"] | None = setting(
        None, "Of images in memory; auto goes with the precision. Default: auto."
    )
    sync_bn: bool | None = setting(None, "Batch norms see the batches of all processes as one.")

    def settings(self) -> dict[str, Any]:
        """What was said, by the engine's names; milestones are those of `multistep`."""
        said = super().settings()
        layout = said.pop("layout", "auto")
        if layout != "auto":
            said["channels_last"] = layout == "channels-last"
        said["augment"] = not said.pop("no_augment", False)
        if "milestones" in said:
            said.setdefault("lr_schedule", "multistep")
        return said

    def config(self, *, epochs: int, lr: float, seed: int, device: str, **more: Any) -> "TrainConfig":
        """The engine's settings, with its defaults where nothing was said.

        Args:
            epochs: how many, unless they were given.
            lr: the learning rate at the start, unless it was given.
            seed: of everything random.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            more: settings that other options speak of.
        Raises:
            TrainingError: names the first setting that no training could follow.
        """
        from ...engine.training.config import TrainConfig

        return TrainConfig(
            **{"epochs": epochs, "lr": lr, **self.settings()}, seed=seed, device=device, **more
        )
