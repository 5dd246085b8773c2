"""The course of one training: every step, epoch and checkpoint, and what changes between them."""

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...weights.errors import first_line
from ..data.base import ImageData
from ..devices import resolve_device
from ..errors import TrainingError
from ..events import Accuracy, EpochDone, Event, Finished, Note, RunStarted, Saved, StepDone
from ..measure.evaluation import check_on_one_image, evaluating
from ..processes import distributed
from ..runs.runs import Run, WatchedRun
from .checkpoint import (
    Checkpoint,
    Progress,
    check_same_network,
    check_same_settings,
    read_checkpoint,
    take_back,
    write_checkpoint,
)
from .config import TrainConfig
from .hooks import Hooks
from .learner import Learner
from .precision import Precision, choose_precision
from .tally import Tally

REPORT_STEPS = 50  # losses stay on the device for at most so many steps
REPORT_SECONDS = 0.5

Save = Callable[[Path, nn.Module, Accuracy], None]
Conclude = Callable[[Accuracy], Generator[Event, None, Mapping[str, Any]]]


class Trainer:
    """One training; `loop.train` documents what goes in and comes out."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        config: TrainConfig,
        run: Run,
        save: Save,
        teacher: nn.Module | None,
        hooks: Hooks,
        conclude: Conclude | None,
    ) -> None:
        self.device = resolve_device(config.device)
        self.model = model.to(self.device)
        self.data, self.config, self.save = data, config, save
        # Every process goes through the whole course; the first alone writes it down.
        self.run = run if distributed.is_first() else WatchedRun(run.folder, run.config)
        self.hooks, self.conclude = hooks, conclude
        self.precision = Precision()
        self.progress = Progress()
        self.batch_size = distributed.share_of(config.batch_size)
        self.steps_per_epoch = data.count_batches("train", self.batch_size, shard=distributed.shard())
        self.learner = Learner(
            model, config, teacher, hooks, steps_per_epoch=self.steps_per_epoch, device=self.device
        )

    def events(self, resume: bool) -> Generator[Event, None, Finished]:
        if resume:
            yield from self._restore()
        else:
            self._prepare()
        started = RunStarted(
            folder=self.run.folder,
            epochs=self.config.epochs,
            done_epochs=self.progress.epoch,
            steps_per_epoch=self.steps_per_epoch,
            device=str(self.device),
            precision=self.precision.name,
            channels_last=self.precision.channels_last,
            distilled=self.learner.teacher is not None,
        )
        if not resume:
            self.run.begin_log(started)
            self._write_checkpoint()  # of epoch 0, so that there is always one to resume from
        yield started
        for epoch in range(self.progress.epoch + 1, self.config.epochs + 1):
            yield from self._epoch(epoch)
        return (yield from self._finish())

    def _prepare(self) -> None:
        """Check that everything goes together, and settle the precision."""
        if not self.steps_per_epoch:
            raise TrainingError(f"data set '{self.data.info.name}' has too few images to train on")
        images_NCHW, labels_N = next(iter(self._batches(epoch=1)))
        check_on_one_image(self.model, images_NCHW, self.data.info)
        if self.learner.teacher is not None:
            check_on_one_image(self.learner.teacher, images_NCHW, self.data.info)
        self.precision = distributed.from_first(
            lambda: choose_precision(
                self.model,
                images_NCHW,
                labels_N,
                precision=self.config.precision,
                channels_last=self.config.channels_last,
            )
        )
        self.model.to(memory_format=self.precision.memory_format)

    def _restore(self) -> Iterator[Event]:
        path = self.run.checkpoint
        saved = read_checkpoint(path)
        check_same_settings(saved, path, self._settings())
        try:  # first: what they did may have given the network tensors
            self.hooks.load_state_dict(saved.hooks)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
            raise TrainingError(f"{path} is not of this schedule: {first_line(error)}") from error
        check_same_network(saved, path, self.model)
        self.progress, self.precision = saved.progress, saved.precision
        self.model.to(memory_format=self.precision.memory_format)
        take_back(saved, path, self.model, self.learner.optimizer)
        self.run.rewind_log(self.progress.epoch)
        yield Note(f"resuming {self.run.folder} after epoch {self.progress.epoch} of {self.config.epochs}")

    def _epoch(self, epoch: int) -> Iterator[Event]:
        torch.manual_seed(_epoch_seed(self.config.seed, epoch, distributed.number()))
        begin = time.perf_counter()
        yield from self._log(self.hooks.before_epoch(epoch, self.learner.optimizer))
        tally = yield from self._steps(epoch)
        distributed.average_running_statistics(self.model)
        yield from self._log(self.hooks.after_epoch(epoch))
        distributed.require_same(self._shared())
        seconds = time.perf_counter() - begin
        test = yield from evaluating(
            self.model, self.data, batch_size=self.config.eval_batch_size, device=self.device
        )
        self._require_finite(epoch)
        leads = self.progress.best is None or test.top1 > self.progress.best.top1
        best = leads and self.hooks.may_be_best(epoch)
        self.progress = Progress(
            epoch=epoch,
            best_epoch=epoch if best else self.progress.best_epoch,
            best=test if best else self.progress.best,
            last=test,
            seconds=self.progress.seconds + time.perf_counter() - begin,
        )
        done = EpochDone(
            epoch=epoch,
            epochs=self.config.epochs,
            lr=self._rate(epoch, self.steps_per_epoch),
            train_loss=tally.mean_loss,
            train_top1=tally.top1,
            test=test,
            seconds=seconds,
            images_per_s=tally.images / seconds,
            best=best,
        )
        # The checkpoint comes last: if anything before it is lost or repeated, resuming does it over.
        if best:
            self._save(self.run.best, test)
        self.run.log(done)
        self._write_checkpoint()
        if best:
            yield Saved(self.run.best, "best")
        yield done

    def _steps(self, epoch: int) -> Generator[Event, None, Tally]:
        """One pass over the training images."""
        self.model.train()
        # Wrapped anew for every epoch: after its first step it sums gradients in another order, and an epoch
        # may not depend on whether the run was resumed before it.
        model = distributed.averaging_gradients(self.model)
        tally = Tally()
        reported, images_before = time.perf_counter(), 0
        for step, (images_NCHW, labels_N) in enumerate(self._batches(epoch), 1):
            over_all = self._first_step(epoch) + step - 1
            loss, hits = self.learner.step(model, over_all, images_NCHW, labels_N, self.precision)
            tally.add(loss, hits, len(labels_N))
            yield from self._log(self.hooks.after_step(over_all))
            now = time.perf_counter()
            if tally.waiting < REPORT_STEPS and now - reported < REPORT_SECONDS:
                continue
            recent = self._settle(tally, epoch, step)
            now = time.perf_counter()  # settling waits for the device
            speed = (tally.images - images_before) / (now - reported)
            reported, images_before = now, tally.images
            yield StepDone(epoch, step, self.steps_per_epoch, recent, speed)
        self._settle(tally, epoch, self.steps_per_epoch)
        return tally

    def _log(self, news: Event | None) -> Iterator[Event]:
        if news is not None:
            self.run.log(news)
            yield news

    def _settle(self, tally: Tally, epoch: int, step: int) -> float:
        """The mean loss since the last time; ends the training if one of them was no number."""
        first = step - tally.waiting + 1
        recent = tally.settle()
        if recent.bad is not None:
            self._give_up(f"the loss became {recent.losses[recent.bad]}", epoch, first + recent.bad)
        return recent.mean

    def _require_finite(self, epoch: int) -> None:
        """The last step's own damage shows in no loss; catch it before the checkpoint keeps it."""
        floats = [tensor for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
        if not torch.stack([tensor.isfinite().all() for tensor in floats]).all():
            self._give_up("a weight is no longer finite", epoch, self.steps_per_epoch)

    def _give_up(self, what: str, epoch: int, step: int) -> None:
        raise TrainingError(
            f"{what} in epoch {epoch}, step {step} of {self.steps_per_epoch}, at learning rate "
            f"{self._rate(epoch, step):.3g}; the checkpoint of epoch {self.progress.epoch} stays in "
            f"{self.run.checkpoint}; try a lower `lr`, some `warmup_epochs`, or `precision` fp32"
        )

    def _finish(self) -> Generator[Event, None, Finished]:
        best, last = self.progress.best, self.progress.last
        assert best is not None
        assert last is not None
        self._save(self.run.final, last)
        yield Saved(self.run.final, "final")
        concluded = (yield from self.conclude(last)) if self.conclude else {}
        finished = Finished(
            folder=self.run.folder,
            epochs=self.config.epochs,
            best_epoch=self.progress.best_epoch,
            best=best,
            final=last,
            seconds=self.progress.seconds,
        )
        self.run.log(finished)
        result = dataclasses.asdict(finished) | dataclasses.asdict(self.precision)
        self.run.finish(result | {"device": str(self.device)} | dict(concluded))
        yield finished
        return finished

    def _save(self, path: Path, accuracy: Accuracy) -> None:
        if distributed.is_first():
            self.save(path, self.model, accuracy)

    def _shared(self) -> dict[str, Tensor]:
        """All tensors that every process must hold alike."""
        steering = self.hooks.state_dict().items()
        return self.model.state_dict() | {name: kept for name, kept in steering if isinstance(kept, Tensor)}

    def _write_checkpoint(self) -> None:
        if not distributed.is_first():
            return
        checkpoint = Checkpoint(
            progress=self.progress,
            precision=self.precision,
            config=self._settings(),
            model=self.model.state_dict(),
            optimizer=self.learner.optimizer.state_dict(),
            hooks=self.hooks.state_dict(),
        )
        write_checkpoint(self.run.checkpoint, checkpoint)

    def _settings(self) -> dict[str, Any]:
        """What may not change when a run is resumed; the device and the number of processes may."""
        settings = dataclasses.asdict(self.config)
        del settings["device"]
        return settings | {"data set": self.data.info.name, "training images": self.data.size("train")}

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        return self.data.batches(
            "train",
            self.batch_size,
            device=self.device,
            augment=self.config.augment,
            shuffle_seed=self.config.seed,
            epoch=epoch - 1,
            shard=distributed.shard(),
            memory_format=self.precision.memory_format,
        )

    def _first_step(self, epoch: int) -> int:
        return (epoch - 1) * self.steps_per_epoch

    def _rate(self, epoch: int, step: int) -> float:
        return self.learner.rates.rate_at(self._first_step(epoch) + step - 1)


def _epoch_seed(seed: int, epoch: int, process: int) -> int:
    """A random stream of its own for every epoch's and process's dropout: no generator state needs keeping.

    Zeros at the end of a seed sequence change nothing: the first process draws what a single one does.
    """
    return int(np.random.SeedSequence([seed, epoch, process]).generate_state(1, np.uint64)[0] >> 1)
