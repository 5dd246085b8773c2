"""What commands that train share: from the folder of a run, new or resumed, to a summary."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from ..engine.errors import DataError, ProcessError, TrainingError
from ..engine.events import Finished
from ..engine.jobs.job import Job
from ..engine.jobs.prepare import Prepared, prepare
from ..engine.jobs.run import run_pruning, run_training
from ..engine.network.network import Network
from ..engine.network.sources import RUNS
from ..engine.processes.distributed import from_first, leave_word
from ..engine.runs import own_code
from ..engine.runs.runs import Run, check_runs, next_run_folder
from ..weights.errors import UnwritableOutput
from ..weights.files import check_distinct
from . import units
from .common import note_order
from .dry_run import show_dry_run
from .options import RunFolder
from .show import Out
from .spelling import option, typed

ALLOWED_WITH_RESUME = ("resume", "anyway", "arch", "threads", "nproc", "json", "quiet")


def train_and_show(
    out: Out,
    job: Job,
    folder: RunFolder,
    network: Network | None = None,
    *,
    notes: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Begin a run, in a new folder if none is given, and see it through; or only say what it would be.

    Args:
        network: the one that the job starts from, where it is loaded already.
        notes: what is to be said once it is clear that the run can begin.
        facts: of the pruning that it follows, for machines.
    """
    check_folder(folder, job.start, job.like, job.teacher)
    ready = prepare(job, network)
    note_order(out, ready.images)
    for note in notes:
        out.note(note)
    run = begin(out, ready, folder, job.command)
    if run is not None:
        _show(out, see_through(out, ready, run), run, facts)


def check_folder(folder: RunFolder, *inputs: Path | None) -> None:
    """Make sure, before any long work, that a run may begin in the folder that was named, if one was.

    Raises:
        WeightsError: it is an input too.
        TrainingError: it is in use, or is a file.
    """
    named = folder.out
    if named is not None:
        check_distinct([named], inputs)
        from_first(lambda: Run.check_free(named, folder.force))


def begin(out: Out, ready: Prepared, folder: RunFolder, kind: str) -> Run | None:
    """Write down what a new run is to do, in the folder that was named or the next in runs/.

    Args:
        kind: what a folder in runs/ is called after, beside network and images.

    Returns:
        None with --dry-run, which says what it would be, and does nothing.

    Raises:
        TrainingError: no folder can be made in runs/.
    """
    arch, data = ready.network.arch, ready.images
    name = f"{kind}-{arch.replace(':', '-')}-{data.info.name}"
    if folder.dry_run:
        if folder.out is None:
            check_runs(RUNS)
        show_dry_run(out, ready, folder.out or RUNS / f"{name}-NNN")
        return None
    settings = ready.job.settings(ready.network, data)

    def create() -> Run:
        own_code.remember(arch)
        return Run.create(folder.out or next_run_folder(RUNS, name), settings, folder.force)

    return from_first(create)


def resume_and_show(out: Out, folder: Path, command: str, context: typer.Context) -> None:
    """Go on with an interrupted run, with the settings it was begun with; others are refused."""
    run, job = open_interrupted(folder, command, context)
    _show(out, see_through(out, prepare(job), run, resume=True), run)


def open_interrupted(folder: Path, command: str, context: typer.Context) -> tuple[Run, Job]:
    """An interrupted run and what it is to do.

    Raises:
        typer.BadParameter: options that would change it.
        TrainingError: it is another command's, or finished, or describes nothing.
    """
    for name in typed(context):
        if name not in ALLOWED_WITH_RESUME:
            raise typer.BadParameter(
                f"a resumed run keeps the settings it was begun with; leave out {option(name)}", ctx=context
            )
    run = Run.open(folder)
    begun_by = run.config.get("command", command)
    if begun_by != command:
        raise TrainingError(f"{folder} is a run of {begun_by}; {_go_on(begun_by, folder)}")
    job = Job.of_run(run)
    run.anyway = bool(context.params.get("anyway"))
    own_code.require_named(job.arch, context.params.get("arch"), folder)
    if run.report.exists():
        narrow = next((path for path in (run.narrow, run.deploy) if path.exists()), None)
        first, last = (run.best, run.final) if narrow is None else (run.final, narrow)
        raise TrainingError(f"{folder} is finished: its networks are {first} and {last}")
    return run, job


def _go_on(command: str, folder: Path) -> str:
    return f"go on with: prune {command} --resume {shlex.quote(str(folder))}"


def see_through(out: Out, ready: Prepared, run: Run, *, resume: bool = False) -> Any:
    """Train or prune in a run's folder, and return what came of it; if it is cut short, say how to go on."""
    work = run_training if ready.job.pruning is None else run_pruning
    with saying_how_to_go_on(run.folder, ready.job.command):
        return out.progress(work(ready, run, resume=resume))


@contextmanager
def saying_how_to_go_on(folder: Path, command: str, then: str = "") -> Iterator[None]:
    """If a run is cut short, say how to go on with it, and what is left to do `then`."""
    leave_word(_go_on(command, folder))
    try:
        yield
    except (KeyboardInterrupt, ProcessError, UnwritableOutput, DataError) as interrupt:
        for word in filter(None, (_go_on(command, folder), then)):
            interrupt.add_note(word)
        raise


def _show(out: Out, finished: Finished, run: Run, facts: Mapping[str, Any] | None = None) -> None:
    out.json(finished if facts is None else {**facts, "finetuned": finished})
    columns = {
        **{"": str, "file": str, "epoch": units.count},
        **{"top-1": units.accuracy, "top-5": units.accuracy, "loss": units.real},
    }
    kept = [
        ("best", run.best, finished.best_epoch, finished.best),
        ("final", run.final, finished.epochs, finished.final),
    ]
    rows = [[name, path, epoch, at.top1, at.top5, at.loss] for name, path, epoch, at in kept]
    out.table("", columns, rows)
