"""The command `prune`: finds the command asked for, runs it, turns errors into one line and an exit code."""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from . import processes, signals
from .commands import COMMANDS, load
from .spelling import as_typed
from .visible import visible_on_one_line

_LONGEST_LINE = 2000  # characters: a file may hold names of any length
_PACKAGE = __name__.removesuffix(".cli.main")

# Known errors by module and name, so that telling one apart imports nothing; and what to do about each where
# the error itself does not say.
_SMALLER = "memory is used up; use a smaller --batch-size or --eval-batch-size, or fewer --workers"
KNOWN_ERRORS = {
    (f"{_PACKAGE}.weights.errors", "WeightsError"): "",
    (f"{_PACKAGE}.archs.errors", "ArchError"): "",
    (f"{_PACKAGE}.engine.errors", "EngineError"): "",
    ("torch", "OutOfMemoryError"): "use a smaller --batch-size",
    ("builtins", "OSError"): "",
    ("builtins", "MemoryError"): _SMALLER,
}

# What torch says in plain RuntimeErrors, wherever the process happens to be.
_RUNTIME_ERRORS = {
    "can't allocate memory": _SMALLER,
    "DataLoader worker": "a process that decodes images was killed, perhaps for want of memory; "
    "use fewer --workers",
}


CLOSED_PIPE = 141  # 128 + SIGPIPE, as shells count it


class LazyCommand(TyperCommand):
    """A name and a line of help that become the real command when it is asked for."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Open the context of the real command, which then runs in this one's place."""
        assert self.name is not None
        command = load(self.name)
        single = typer.Typer(add_completion=False)
        single.command(self.name, help=_unfolded(command.__doc__ or ""))(command)
        return _with_bare_flags(typer.main.get_command(single)).make_context(*args, **kwargs)


def _with_bare_flags(command: Any) -> Any:
    """The same command, whose help says of no flag that it takes a value."""
    for parameter in (*command.params, command.get_help_option(typer.Context(command))):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return command


def _unfolded(doc: str) -> str:
    """A docstring's paragraphs, each one line, which the terminal then folds where it ends itself."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in doc.split("\n\n"))


app = typer.Typer()


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"prune {version('prune-cnn')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _prune(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and leave.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Make convolutional networks narrower: smaller files, fewer operations, the same code runs them."""
    if context.invoked_subcommand is None:
        context.get_help()


for _name, _one_line in COMMANDS.items():
    app.command(_name, cls=LazyCommand, help=_one_line)(lambda: None)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        args: the words after `prune`; those of this process if not given.
    Returns:
        The exit code: 0 done, 1 a fault of ours, 2 something the user can mend, 130 interrupted, 143 and 129
        by SIGTERM and SIGHUP, 141 nobody reads on.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, for as long as this process
    if sys.stdout is None:
        _say(
            "error: stdout is closed, and the next file opened would take its place; redirect it to /dev/null"
        )
        return 2
    code = None
    try:
        with signals.heeded():
            code = _run(list(sys.argv[1:] if args is None else args))
    except KeyboardInterrupt as interrupt:  # met what puts things in order, or came when all was done
        if code is None:
            code = _interrupted(interrupt)
    return code


def _run(words: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file may have a name that no text can hold
    try:
        group = _with_bare_flags(typer.main.get_command(app))
        several = partial(processes.launch, main, words)  # for --nproc
        with group.make_context("prune", list(words), obj=several) as context:
            group.invoke(context)
        processes.leave_together()
        sys.stdout.flush()
    except typer.Exit as leave:
        return signals.exit_code() if leave.exit_code == 130 else leave.exit_code
    except TyperException as error:
        return _usage_error(error)
    except BrokenPipeError:
        # `prune inspect ... | head` is no error; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # Rich met it, and has closed stdout
            return CLOSED_PIPE
        raise
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except Exception as error:
        return _error(error)
    return 0


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    """A training says where it stands; its command adds with `add_note` how to go on."""
    if processes.speaks(interrupt):
        _say("; ".join([str(interrupt) or "interrupted", *getattr(interrupt, "__notes__", [])]))
    return signals.exit_code()


def _usage_error(error: TyperException) -> int:
    if not processes.speaks(error):
        return 2
    context = getattr(error, "ctx", None)
    way_out = f" (see {context.command_path} --help)" if context else ""
    _say(f"error: {_one_line_of(error.format_message())}{way_out}")
    return 2


def _error(error: Exception) -> int:
    names = [(kind.__module__, kind.__qualname__) for kind in type(error).__mro__]
    known = next((name for name in names if name in KNOWN_ERRORS), None)
    told = next((told for words, told in _RUNTIME_ERRORS.items() if words in str(error)), None)
    if known is None and isinstance(error, RuntimeError) and told is not None:
        error, known = OSError(told), ("builtins", "OSError")
    if isinstance(error, OSError):
        _drop_unwritten_output()
    if not processes.speaks(error):
        return 1 if known is None else 2
    if known is None or os.environ.get("PRUNE_DEBUG") == "1":
        traceback.print_exception(error)
    if known is None:
        _say("This is a fault in prune. Please report it with the lines above and the command you typed.")
        return 1
    parts = [_one_line_of(str(error)), KNOWN_ERRORS[known], *getattr(error, "__notes__", [])]
    _say(f"error: {'; '.join(filter(None, parts))}")
    return 2


def _drop_unwritten_output() -> None:
    """Where stdout cannot be written, what is still buffered must not fail again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line_of(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."


def _say(text: str) -> None:
    print(visible_on_one_line(as_typed(text)), file=sys.stderr)
