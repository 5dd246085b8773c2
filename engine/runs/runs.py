"""A run is a folder that explains itself: settings, surroundings, course, networks and result."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from ...weights import schema
from ...weights.errors import first_line
from ...weights.files import atomic_write, is_leftover, remove_leftovers
from ..errors import TrainingError
from ..events import Event, Finished
from . import lock
from .environment import environment
from .plain import plain

_OF_A_START = {"config.json", "environment.json", "log.jsonl"}
_OBJECT = schema.mapping(schema.anything)
_LOGGED = schema.record({"event": schema.text}, {"epoch": schema.integer(0, 10**9)}, others=True)


class Run:
    """One run's folder.

    Attributes:
        config: every setting, as in `config.json`; `newest_base` goes by its `command`, `arch` and `dataset`.
        anyway: may the run go on with other inputs than it was begun with?
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.anyway = False
        self.checkpoint = folder / "checkpoint.pt"
        self.best = folder / "best.hdf5"
        self.final = folder / "final.hdf5"
        self.deploy = folder / "deploy.hdf5"
        self.narrow = folder / "narrow.hdf5"
        self.report = folder / "report.json"
        self._config = folder / "config.json"
        self._environment = folder / "environment.json"
        self._log = folder / "log.jsonl"

    @classmethod
    def create(cls, folder: Path, config: Mapping[str, Any], force: bool = False) -> Self:
        """Begin a run in a new or empty folder; `force` removes an earlier run's files, and only those.

        Raises:
            TrainingError: the folder is in use, or cannot be one.
        """
        run = cls(Path(folder), config)
        try:
            cls.check_free(run.folder, force)
            run.folder.mkdir(parents=True, exist_ok=True)
            run.lock()
            cls.check_free(run.folder, force)  # another process may have begun and ended a run meanwhile
            if force:
                for path in (
                    run.report,
                    run.narrow,
                    run.deploy,
                    run.final,
                    run.best,
                    run.checkpoint,
                    run._log,
                ):
                    path.unlink(missing_ok=True)
            _write_json(run._environment, environment())
            _write_json(run._config, config)
        except OSError as error:
            raise TrainingError(f"{run.folder} cannot be made a run's folder: {error.strerror}") from error
        return run

    @staticmethod
    def check_free(folder: Path, force: bool = False) -> None:
        """Make sure that a run may begin in a folder; nothing is made or removed.

        One that was cut short before its first checkpoint is as good as none.

        Raises:
            TrainingError: the folder is in use, or is a file.
        """
        if folder.exists() and not folder.is_dir():
            raise TrainingError(f"{folder} is a file; a run needs a folder: choose another `out`")
        if not force and folder.is_dir() and not _is_cut_start(folder):
            raise TrainingError(
                f"{folder} is not empty; resume it with `resume`, choose another folder, or use `force`"
            )

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a run that was begun earlier.

        Raises:
            TrainingError: the folder holds no run.
        """
        path = Path(folder) / "config.json"
        if path.exists() and not path.is_file():
            raise TrainingError(f"{path} is not a regular file")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            _OBJECT(config, "")
        except (FileNotFoundError, NotADirectoryError) as error:
            cut = Path(folder).is_dir() and _is_cut_start(Path(folder))
            way_out = "; if it was cut short there, type the command again that began it" if cut else ""
            raise TrainingError(f"{folder} holds no run: there is no {path.name} in it{way_out}") from error
        except (OSError, ValueError, RecursionError, schema.WrongValue) as error:
            raise TrainingError(f"{path} cannot be read: {first_line(error)}") from error
        return cls(Path(folder), config)

    @property
    def begun(self) -> bool:
        """Did training begin? If not, nothing is there to go on from, and nothing to lose."""
        return self.checkpoint.exists()

    def lock(self) -> None:
        """Keep other processes out of this folder until this one ends, and clear up after earlier ones.

        Raises:
            TrainingError: another process works in it.
        """
        try:
            lock.hold(self.folder)
            remove_leftovers(self.folder)
        except OSError as error:
            raise TrainingError(f"{self.folder} cannot be written: {error.strerror}") from error

    def unlock(self) -> None:
        """Leave the folder to other processes."""
        lock.let_go(self.folder)

    def begin_log(self, event: Event) -> None:
        """Begin `log.jsonl` with an event; what a start has left that came to nothing goes."""
        self._log.unlink(missing_ok=True)
        self.log(event)

    def log(self, event: Event) -> None:
        """Add an event to `log.jsonl`, one line, on disk before this returns; a link is not followed.

        Raises:
            TrainingError: it cannot be written.
        """
        record = {"event": type(event).__name__, **dataclasses.asdict(event)}
        line = json.dumps(plain(record), allow_nan=False) + "\n"
        try:
            with open(self._log, "a", encoding="utf-8", opener=_following_no_link) as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise TrainingError(f"{self._log} cannot be written: {error.strerror}") from error

    def read_log(self) -> list[dict[str, Any]]:
        """The logged events, oldest first, up to the first line that was cut off while it was written."""
        records = []
        there = _is_plain_file(self._log)
        text = self._log.read_text(encoding="utf-8", errors="replace") if there else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
                _LOGGED(record, "")
            except (ValueError, RecursionError, schema.WrongValue):
                break
            records.append(record)
        return records

    def rewind_log(self, epoch: int) -> None:
        """Drop whatever was logged after `epoch`, so that a resumed run logs a single course."""
        kept = []
        for record in self.read_log():
            if record.get("event") == Finished.__name__ or record.get("epoch", 0) > epoch:
                break
            kept.append(json.dumps(record) + "\n")
        with atomic_write(self._log, force=True) as aside:
            aside.write_text("".join(kept), encoding="utf-8")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `report.json`, which says that the run is complete: nothing may be written after it."""
        _write_json(self.report, {"finished_at": self._now().isoformat(), **result})
        self.unlock()

    def _now(self) -> datetime:
        """The time, but later than any run beside this one has ended: a clock may have been set back."""
        times = [datetime.now(UTC)]
        for report in filter(Path.is_file, self.folder.absolute().parent.glob("*/report.json")):
            with suppress(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                ended = datetime.fromisoformat(json.loads(report.read_text(encoding="utf-8"))["finished_at"])
                times.append(ended.astimezone(UTC) + timedelta(microseconds=1))
        return max(times)


def check_runs(root: Path) -> None:
    """Make sure that `next_run_folder` can make a folder here; nothing is made.

    Raises:
        TrainingError: there is no permission, or a file is in the way.
    """
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise TrainingError(f"no run folder can be made in '{there}'; name an output with `out`")


class WatchedRun(Run):
    """A run as the processes see it that share in the work and write nothing."""

    def log(self, event: Event) -> None:
        """Leave it to the process that writes."""

    def begin_log(self, event: Event) -> None:
        """Leave it to the process that writes."""

    def rewind_log(self, epoch: int) -> None:
        """Leave it to the process that writes."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Leave it to the process that writes."""


def next_run_folder(root: Path, name: str) -> Path:
    """Make the next free folder `root/name-NNN`, counted from 001; safe when several commands start at once.

    Raises:
        TrainingError: no folder can be made there.
    """
    root = Path(root)
    numbered = re.compile(re.escape(name) + r"-(\d{3,})")
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = [int(match[1]) for path in root.iterdir() if (match := numbered.fullmatch(path.name))]
        number = max(taken, default=0) + 1
        while True:
            folder = root / f"{name}-{number:03}"
            try:
                folder.mkdir()
            except FileExistsError:  # another command was faster
                number += 1
            else:
                return folder
    except OSError as error:
        raise TrainingError(f"no run folder can be made in {root}: {error.strerror}") from error


def newest_base(root: Path, arch: str, dataset: str) -> Path | None:
    """The best weights of the last finished `train-base` run of this arch and data set, if there is one.

    Runs of a network as narrow as another one (`like`) are none of a base.
    """
    wanted = {"command": "train-base", "arch": arch, "dataset": dataset}
    finished: list[tuple[str, Path]] = []
    for report in filter(Path.is_file, Path(root).glob("*/report.json")):
        try:
            run = Run.open(report.parent)
            when = json.loads(report.read_text(encoding="utf-8"))["finished_at"]
        except (TrainingError, OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # somebody else's folder
        weights = run.best if run.best.exists() else run.final
        full_width = run.config.get("like") is None
        matches = all(run.config.get(key) == value for key, value in wanted.items())
        if full_width and matches and weights.exists():
            finished.append((when, weights))
    return max(finished)[1] if finished else None


def _following_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _is_plain_file(path: Path) -> bool:
    """Is it a file that ends, and lies where it seems to?"""
    return path.is_file() and not path.is_symlink()


def _is_cut_start(folder: Path) -> bool:
    """Is there nothing in a folder but what a run leaves that is cut short before its first checkpoint?

    `environment.json` comes first; without it, what is there may be somebody else's.
    """
    names = {path.name for path in folder.iterdir() if not is_leftover(path.name)} - {lock.NAME}
    return not names or ("environment.json" in names and names <= _OF_A_START)


def _write_json(path: Path, contents: Mapping[str, Any]) -> None:
    with atomic_write(path, force=True) as aside:
        aside.write_text(json.dumps(plain(contents), indent=2, allow_nan=False) + "\n", encoding="utf-8")
