"""The one training loop: base networks, finetuning, and pruning that happens while training."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ..data.base import ImageData
from ..errors import ProcessError, TrainingError
from ..events import Event, Finished
from ..processes import distributed
from ..runs.runs import Run
from .config import TrainConfig
from .hooks import Hooks
from .trainer import Conclude, Save, Trainer

__all__ = ["Conclude", "Hooks", "Interrupted", "Save", "TrainConfig", "train"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; the last whole epoch is in `folder`, ready to resume."""

    def __init__(self, folder: Path, epoch: int) -> None:
        super().__init__(f"interrupted after epoch {epoch}")
        self.folder = folder
        self.epoch = epoch


def train(
    model: nn.Module,
    data: ImageData,
    config: TrainConfig,
    run: Run,
    save: Save,
    *,
    teacher: nn.Module | None = None,
    hooks: Hooks | None = None,
    conclude: Conclude | None = None,
    resume: bool = False,
) -> Generator[Event, None, Finished]:
    """Train `model` in place, test it after every epoch, and keep the whole course in `run`'s folder.

    An epoch is a function of the state before it, the seed and its number. So the same seed gives the same
    weights (on the same device, on a CPU with the same number of threads), and resuming ends with the very
    weights of a run that was never interrupted. What `config` leaves open, precision and memory layout, is
    chosen by rule and then kept; fix both where runs on several machines are to agree. The global random
    state is seeded while this runs, and restored when it ends or is closed.

    With several processes (see `engine.processes.distributed`) each calls this, with the same weights. Each
    trains on its share of every batch, the first writes the files, and all get the same events but for their
    times.

    Args:
        save: writes a network to a path, replacing what is there; its tensors may lie on any device, in any
            memory layout.
        teacher: whose answers are learnt when `config.distill_alpha` is above 0.
        conclude: what is done with the trained and saved network before the report is written, given its last
            accuracy; what it returns joins the report.
        resume: go on from the run's checkpoint, over whatever weights `model` has.

    Yields:
        Events; `EpochDone` comes when its checkpoint is safely written.

    Returns:
        The last event.

    Raises:
        TrainingError: it cannot start or resume, the loss is no longer a number, memory runs out, or the
            processes do not hold the same weights after an epoch.
        ProcessError: another process is gone.
        DataError: network and images do not go together.
        Interrupted: Ctrl-C.
    """
    if (teacher is None) != (config.distill_alpha == 0):
        raise TrainingError(
            f"distillation needs both a teacher and an alpha above 0; alpha is {config.distill_alpha} and "
            f"there is {'no' if teacher is None else 'a'} teacher"
        )
    trainer = Trainer(model, data, config, run, save, teacher, hooks or Hooks(), conclude)
    gpus = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), _repeatable_convolutions():
        try:
            with distributed.contact():
                return (yield from trainer.events(resume))
        except KeyboardInterrupt as stop:
            raise Interrupted(run.folder, trainer.progress.epoch) from stop
        except ProcessError as error:
            raise ProcessError(
                f"{error}; the checkpoint of epoch {trainer.progress.epoch} stays in {run.checkpoint}"
            ) from error
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{trainer.device} ran out of memory at batch size {config.batch_size}; lower `batch_size`"
            ) from error
        finally:
            model.to(memory_format=torch.contiguous_format)


@contextmanager
def _repeatable_convolutions() -> Iterator[None]:
    """Keep cuDNN from choosing algorithms whose sums depend on timing."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
