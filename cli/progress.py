"""Draws what the engine says while it works: a line per epoch, and a live bar beneath.

Off a terminal the bar is a line every ten seconds, so that nobody has to wonder.
"""

import time
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from ..engine.events import (
    BlockFitted,
    ConvMasked,
    EpochDone,
    Event,
    Finished,
    GroupMeasured,
    LayerRefitted,
    MasksSet,
    Note,
    RunStarted,
    Saved,
    Scored,
    StepDone,
    Tested,
    Working,
)
from . import units
from .spelling import as_typed
from .visible import visible

SECONDS_OF_SILENCE = 10.0


def draw(console: Console, events: Iterable[Event]) -> Any:
    """Consume events and show them on a console.

    Returns:
        What the generator returns, or its last event if it returns nothing.
    """
    last: Event | None = None
    masks, distilled = "", False
    result: Any = None

    def remembering() -> Generator[Event, None, None]:
        nonlocal result
        result = yield from events

    work = remembering()
    with _Bar(console) as bar:
        for last in work:
            try:
                if isinstance(last, MasksSet):
                    masks = f"  {units.count(last.masked)} masked, {units.percent(last.macs_share)} of MACs"
                if isinstance(last, RunStarted):
                    distilled = last.distilled
                line = describe(last) + (masks if isinstance(last, EpochDone) else "")
                if distilled and isinstance(last, EpochDone):
                    line = line.replace("  loss ", "  distilled loss ")
                if line:
                    console.print(visible(line))
                bar.follow(last)
            except KeyboardInterrupt as interrupt:
                work.throw(interrupt)  # Ctrl-C may come while we draw: the work itself says where it stands
                raise
    return last if result is None else result


def describe(event: Event) -> str:
    """The line an event is worth; empty for those that only move the bar."""
    match event:
        case RunStarted():
            layout = ", channels last" if event.channels_last else ""
            resumed = f", going on after epoch {event.done_epochs}" if event.done_epochs else ""
            steps = f"{event.epochs} epochs of {event.steps_per_epoch} steps"
            return (
                f"training in {event.folder}: {steps} on {event.device}, {event.precision}{layout}{resumed}"
            )
        case EpochDone():
            width = len(str(event.epochs))
            best = "  best" if event.best else ""
            return (
                f"epoch {event.epoch:{width}}/{event.epochs}  loss {event.train_loss:.3f}"
                f"  train {units.accuracy(event.train_top1)}  test {units.accuracy(event.test.top1)}"
                f"  lr {units.real(event.lr)}  {units.duration(event.seconds)}{best}"
            )
        case ConvMasked():
            return (
                f"conv {event.number} of {event.convs}: {event.name}, {event.masked} of {event.filters} "
                f"filters masked, {units.percent(event.macs_share)} of MACs"
            )
        case Saved() if event.what != "best":  # of the best there may be one an epoch, whose line says so
            return f"saved {event.path}"
        case Note():
            return as_typed(event.text)
        case _:
            return ""


class _TimeLeft(ProgressColumn):
    """How long it will take, once that is known."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("" if left is None else units.duration(left), style="progress.remaining")


class _Bar:
    """A live bar over a training, an evaluation or the scoring of filters; a rare line off a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            _TimeLeft(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, facts="", visible=False)
        self._training: RunStarted | None = None
        self._console, self._said = console, time.monotonic()

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def follow(self, event: Event) -> None:
        """Move to where an event says the work is."""
        match event:
            case RunStarted():
                self._training = event
                self._show("training", event.done_epochs * event.steps_per_epoch)
            case Finished():
                self._training = None  # there may be more to do
            case StepDone():
                self._show(
                    f"epoch {event.epoch}",
                    (event.epoch - 1) * event.steps + event.step,
                    f"loss {event.loss:.3f}  {units.count(round(event.images_per_s))} img/s",
                )
            case Working():
                self._show(event.what, event.done, total=event.steps)
            case Scored():
                self._show("scoring", event.done, total=event.batches)
            case LayerRefitted():
                self._show("compensating", event.done, total=event.layers)
            case GroupMeasured():
                self._show("measuring widths", event.done, total=event.groups)
            case BlockFitted():
                self._show("fitting blocks", event.done, total=event.blocks)
            case Tested() if self._training:
                self._progress.update(self._task, description="testing")
            case Tested():
                self._show("testing", event.done, total=event.images)
            case _:
                pass

    def _show(self, description: str, completed: int, facts: str = "", total: int | None = None) -> None:
        if self._training:
            total = self._training.epochs * self._training.steps_per_epoch
        if self._console.is_terminal:
            self._progress.update(
                self._task,
                description=description,
                completed=completed,
                total=total,
                facts=facts,
                visible=True,
            )
        elif time.monotonic() - self._said >= SECONDS_OF_SILENCE:
            self._said = time.monotonic()
            of = f" of {units.count(total)}" if total else ""
            self._console.print(f"{description}: {units.count(completed)}{of}  {facts}".rstrip())
