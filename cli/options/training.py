"""How to train."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .group import SHARE, Group, option
from .images import BatchSize, EvalBatchSize

if TYPE_CHECKING:
    from ...engine.training.config import TrainConfig

_training = partial(option, "Training")

Recalibrate = Annotated[
    int, _training("--recalibrate", "BATCHES", "Training batches to re-estimate BN on; 0: none.", min=0)
]
Finetune = Annotated[
    int | None,
    option(
        "What stays (--compensate)",
        "--finetune",
        "EPOCHS",
        "Then train it for so long, taught by the network it was cut from. Default: 0.",
        min=1,
    ),
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
class Training(Group):
    """What a training can be told; a field goes by the name of the engine's setting."""

    epochs: Annotated[int | None, _training("--epochs", "N", "Passes over the training images.", min=1)] = (
        None
    )
    lr: Annotated[float | None, _training("--lr", "RATE", "Learning rate at the start.", min=0)] = None
    batch_size: BatchSize = None
    eval_batch_size: EvalBatchSize = None
    momentum: Annotated[float | None, _training("--momentum", "SHARE", "Of SGD. Default: 0.9.", **SHARE)] = (
        None
    )
    weight_decay: Annotated[
        float | None, _training("--weight-decay", "RATE", "L2 penalty. Default: 0.0005.", min=0)
    ] = None
    decay_rule: Annotated[
        Literal["all", "resrep"] | None,
        _training("--decay-rule", None, "Decay all, or ResRep's way: no biases, no BN. Default: all."),
    ] = None
    nesterov: Annotated[bool | None, _training("--nesterov", None, "Use Nesterov's momentum.")] = None
    lr_schedule: Annotated[
        Literal["cosine", "multistep"] | None,
        _training("--lr-schedule", None, "How the learning rate falls. Default: cosine."),
    ] = None
    milestones: Annotated[
        Any,
        _training("--milestones", "EPOCHS", "Where multistep lowers the rate: 80,120.", parser=epoch_list),
    ] = None
    gamma: Annotated[
        float | None, _training("--gamma", "FACTOR", "Multistep multiplies by it. Default: 0.1.", **SHARE)
    ] = None
    warmup_epochs: Annotated[
        int | None, _training("--warmup-epochs", "N", "Epochs of linear rise first. Default: 0.", min=0)
    ] = None
    label_smoothing: Annotated[
        float | None,
        _training("--label-smoothing", "SHARE", "Taken from the true label. Default: 0.", **SHARE),
    ] = None
    no_augment: Annotated[
        bool | None, _training("--no-augment", None, "Train on the images as they are.")
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        _training("--precision", None, "Number format; auto: bf16 where it is native. Default: auto."),
    ] = None
    layout: Annotated[
        Literal["auto", "plain", "channels-last"] | None,
        _training("--layout", None, "Of images in memory; auto goes with the precision. Default: auto."),
    ] = None
    sync_bn: Annotated[
        bool | None, _training("--sync-bn", None, "Batch norms see the batches of all processes as one.")
    ] = None

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
