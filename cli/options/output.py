"""What comes out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..show import Out
from .group import Group, option, setting

OutFile = Annotated[Path | None, option("Output", "--out", "FILE", "File to write.")]
Force = Annotated[bool, option("Output", "--force", None, "Replace what is already there.")]


@dataclass(frozen=True)
class Results(Group, panel="Output"):
    """How a command that answers at once shows its results."""

    json: bool = setting(None, "One JSON object on stdout, and nothing else.", default=False)

    def show(self) -> Out:
        """Where the command prints."""
        return Out(self.json)


@dataclass(frozen=True)
class Work(Results):
    """How a command that works for a while shows that and its results."""

    quiet: bool = setting(None, "No notes, no progress.", default=False)

    def show(self) -> Out:
        """Where the command prints."""
        return Out(self.json, self.quiet)


@dataclass(frozen=True)
class RunFolder(Group, panel="Output"):
    """The folder of a run."""

    out: Path | None = setting("FOLDER", "Folder of this run.")
    resume: Path | None = setting("FOLDER", "Go on with this interrupted run.")
    anyway: bool = setting(
        None, "Go on with --resume though files it was begun with have changed.", default=False
    )
    dry_run: bool = setting(None, "Check everything, say what would be done, do nothing.", default=False)
    force: Force = False

    def __post_init__(self) -> None:
        """Refuse an option that has no effect."""
        if self.anyway and self.resume is None:
            raise typer.BadParameter("--anyway has no effect without --resume; leave it out")


@dataclass(frozen=True)
class FileOrRunFolder(RunFolder):
    """One file, or the folder of a run where there is one."""

    out: Path | None = setting("PATH", "File to write; where it trains, folder of the run.")
