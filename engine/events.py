"""What the engine says while it works: plain facts, yielded, never printed. Epochs and steps count from 1."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Accuracy:
    """How well a network does on a set of images.

    Attributes:
        top1: images whose largest logit is the label's, in percent.
        top5: images whose label is among the five largest logits, in percent; None below 10 classes.
        loss: mean cross-entropy per image, in nats.
        images: how many images were seen.
        seconds: wall time it took.
    """

    top1: float
    top5: float | None
    loss: float
    images: int
    seconds: float


@dataclass(frozen=True)
class RunStarted:
    """Training begins, or goes on after `done_epochs`; `distilled` losses are partly a teacher's."""

    folder: Path
    epochs: int
    done_epochs: int
    steps_per_epoch: int
    device: str
    precision: str
    channels_last: bool
    distilled: bool = False


@dataclass(frozen=True)
class StepDone:
    """Training got to `step` of `steps` in this epoch; `loss` is the mean since the last such event."""

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_s: float


@dataclass(frozen=True)
class MasksSet:
    """The masks of all layers were set anew after `step` of `steps` in this epoch.

    Attributes:
        masked: channels that are masked now.
        macs: multiply-accumulates of the network without them.
        macs_share: of the whole network's.
    """

    epoch: int
    step: int
    steps: int
    masked: int
    macs: int
    macs_share: float


@dataclass(frozen=True)
class ConvMasked:
    """Layer by layer: the turn of convolution `number` of `convs` begins with this epoch.

    Attributes:
        masked: how many of its `filters` are masked.
        macs_share: of the whole network's multiply-accumulates, what is left by now.
    """

    epoch: int
    number: int
    convs: int
    name: str
    masked: int
    filters: int
    macs_share: float


@dataclass(frozen=True)
class Working:
    """A call has come to `what`, with `done` of `steps` behind it."""

    done: int
    steps: int
    what: str


@dataclass(frozen=True)
class Scored:
    """A criterion has looked at `done` of `batches` batches of images."""

    done: int
    batches: int


@dataclass(frozen=True)
class LayerRefitted:
    """Compensation has fitted `layer`; `done` of `layers` are through."""

    done: int
    layers: int
    layer: str


@dataclass(frozen=True)
class GroupMeasured:
    """It was measured what narrowing `group` costs; `done` of `groups` are through."""

    done: int
    groups: int
    group: str


@dataclass(frozen=True)
class BlockFitted:
    """The block that ends with `layer` was fitted to the full network's; `done` of `blocks` are through."""

    done: int
    blocks: int
    layer: str


@dataclass(frozen=True)
class Tested:
    """An evaluation has got through `done` of `images` images."""

    done: int
    images: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over, tested and in the checkpoint; `lr` is its last step's, `seconds` its training's."""

    epoch: int
    epochs: int
    lr: float
    train_loss: float
    train_top1: float
    test: Accuracy
    seconds: float
    images_per_s: float
    best: bool


@dataclass(frozen=True)
class Saved:
    """A network was written to `path`; `what` is `best`, `final`, `narrow`, `step` or, folded, `deploy`."""

    path: Path
    what: str


@dataclass(frozen=True)
class Note:
    """Something worth a line to whoever watches."""

    text: str


@dataclass(frozen=True)
class Finished:
    """Training is over and the report written; `seconds` of training and testing, interruptions left out."""

    folder: Path
    epochs: int
    best_epoch: int
    best: Accuracy
    final: Accuracy
    seconds: float


Event = (
    RunStarted
    | StepDone
    | MasksSet
    | ConvMasked
    | Working
    | Scored
    | LayerRefitted
    | GroupMeasured
    | BlockFitted
    | Tested
    | EpochDone
    | Saved
    | Note
    | Finished
)


def unwatched(work: Generator[Event, None, T]) -> T:
    """Let work go through, whatever it says; returns what it comes to."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
