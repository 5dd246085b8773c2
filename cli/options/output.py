"""What comes out."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..show import Out
from .group import Group, option

_output = partial(option, "Output")

OutFile = Annotated[Path | None, _output("--out", "FILE", "File to write.")]
PlanOut = Annotated[
    Path | None, _output("--plan-out", "FILE", "Write the plan, to read, edit and give to --plan.")
]
Force = Annotated[bool, _output("--force", None, "Replace what is already there.")]


@dataclass(frozen=True)
class Results(Group):
    """How a command that answers at once shows its results."""

    json: Annotated[bool, _output("--json", None, "One JSON object on stdout, and nothing else.")] = False

    def show(self) -> Out:
        """Where the command prints."""
        return Out(self.json)


@dataclass(frozen=True)
class Work(Results):
    """How a command that works for a while shows that and its results."""

    quiet: Annotated[bool, _output("--quiet", None, "No notes, no progress.")] = False

    def show(self) -> Out:
        """Where the command prints."""
        return Out(self.json, self.quiet)


@dataclass(frozen=True)
class RunFolder(Group):
    """The folder of a run."""

    out: Annotated[Path | None, _output("--out", "FOLDER", "Folder of this run.")] = None
    resume: Annotated[Path | None, _output("--resume", "FOLDER", "Go on with this interrupted run.")] = None
    anyway: Annotated[
        bool, _output("--anyway", None, "Go on with --resume though files it was begun with have changed.")
    ] = False
    dry_run: Annotated[
        bool, _output("--dry-run", None, "Check everything, say what would be done, do nothing.")
    ] = False
    force: Force = False

    def __post_init__(self) -> None:
        """Refuse an option that has no effect."""
        if self.anyway and self.resume is None:
            raise typer.BadParameter("--anyway has no effect without --resume; leave it out")


@dataclass(frozen=True)
class FileOrRunFolder(RunFolder):
    """One file, or the folder of a run where there is one."""

    out: Annotated[
        Path | None, _output("--out", "PATH", "File to write; where it trains, folder of the run.")
    ] = None
