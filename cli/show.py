"""What a command prints: results on stdout, everything about the work on stderr."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import processes, units
from .spelling import as_typed
from .visible import visible, visible_in_json, visible_on_one_line

if TYPE_CHECKING:
    from ..engine.events import Event

Format = Callable[[Any], str]

_UNLIMITED = 100_000  # columns; a pipe has no width, so nothing may be folded or cut for its sake
_NARROWEST_TEXT = 12  # columns that a folded text may be left with


class Out:
    """The output of one command.

    With `as_json`, stdout carries the one object given to `json` and nothing else, so a command states its
    results twice, as tables and as an object, and never asks which are wanted. `quiet` silences notes and
    progress; results and warnings stay. Of several processes that work as one, the first alone shows them.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet or not processes.is_first()
        self._stdout = _console(stderr=False)
        self._stderr = _console(stderr=True)

    def table(self, title: str, columns: Mapping[str, Format], rows: Iterable[Sequence[Any]]) -> None:
        """Show rows of values.

        Args:
            title: a line above the table; none if empty.
            columns: heading -> how its values are written: `str` for text, which stands left, or a function
                of `units` for numbers, which stand right. `None` is always written as a dash.
            rows: one value per column.
        """
        if self.as_json:
            return
        if title:
            self._stdout.print(Text(title, style="bold"))
        columns = {visible_on_one_line(heading): form for heading, form in columns.items()}
        cells = [[_cell(*pair) for pair in zip(columns.values(), row, strict=True)] for row in rows]
        left = [form is str for form in columns.values()]
        if self._stdout.is_terminal:
            for part in _parts_that_fit(list(columns), left, cells, self._stdout.width):
                table = _folding_table(list(columns), left, cells, part, self._stdout.width)
                self._stdout.print(table)
                self._stdout.print()
        else:
            print(_full_width_table(list(columns), left, cells), end="\n\n")

    def facts(self, facts: Mapping[str, object]) -> None:
        """Show labelled single values, one a line; those that are `None` are left out."""
        if self.as_json:
            return
        known = {
            visible_on_one_line(label): visible_on_one_line(str(value))
            for label, value in facts.items()
            if value is not None
        }
        if self._stdout.is_terminal:
            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(style="dim", no_wrap=True)
            grid.add_column(overflow="fold")
            for pair in known.items():
                grid.add_row(*pair)
            self._stdout.print(grid)
        else:
            width = max(map(len, known), default=0)
            print(*(f"{label:<{width}}  {value}" for label, value in known.items()), sep="\n")
        self._stdout.print()

    def footnote(self, text: str) -> None:
        """Explain a word of the tables above."""
        if not self.as_json:
            self._stdout.print(as_typed(text), style="dim")

    def json(self, result: object) -> None:
        """Print the result for machines, if they are who asked."""
        if self.as_json:
            from ..engine.runs.plain import plain  # here: a page of help needs no NumPy

            print(visible_in_json(json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False)))

    def note(self, text: str) -> None:
        """Say something about the work."""
        if not self.quiet:
            self._stderr.print(visible(as_typed(text)))

    def warning(self, text: str) -> None:
        """Say something the user should look at."""
        if processes.is_first():
            self._stderr.print(Text.assemble(("warning: ", "yellow"), visible(as_typed(text))))

    def saved(self, path: str | PathLike[str]) -> None:
        """Say that a file or a folder was written."""
        path = Path(path)
        self.note(f"saved {path}" + (f" ({units.size(path.stat().st_size)})" if path.is_file() else ""))

    def progress(self, events: "Iterable[Event]") -> Any:
        """Let the engine work and show how far it is.

        Returns:
            What the generator returns, or its last event if it returns nothing.
        """
        from .progress import draw  # not every command has bars to pay for

        return draw(Console(quiet=True) if self.quiet else self._stderr, events)


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _UNLIMITED
    return console


def _cell(form: Format, value: Any) -> str:
    return units.MISSING if value is None else visible_on_one_line(form(value))


def _parts_that_fit(
    headings: list[str], left: list[bool], cells: list[list[str]], room: int
) -> list[list[int]]:
    """Columns by number, in tables of at most `room`, each of which begins with the first column.

    Text can be folded, numbers cannot: where not all have room, the rest comes in a table below.
    """
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    needs = [
        min(width, _NARROWEST_TEXT) if is_left else width for width, is_left in zip(widths, left, strict=True)
    ]
    parts, taken = [[0]], needs[0]
    for number, needed in enumerate(needs[1:], 1):
        if taken + 2 + needed > room and len(parts[-1]) > 1:
            parts.append([0])
            taken = needs[0]
        parts[-1].append(number)
        taken += 2 + needed
    return parts


def _folding_table(
    headings: list[str], left: list[bool], cells: list[list[str]], columns: list[int], room: int
) -> Table:
    """A table of some of the columns, which folds its longest text where the terminal is narrow.

    Names are folded behind dots, slashes and the like, if there is only one column of them.
    """
    texts = [number for number in columns if left[number]]
    if len(texts) == 1:
        others = [
            max(len(row[number]) for row in [headings, *cells]) for number in columns if not left[number]
        ]
        width = max(_NARROWEST_TEXT, room - sum(others) - len(columns))
        cells = [[*row[: texts[0]], _folded(row[texts[0]], width), *row[texts[0] + 1 :]] for row in cells]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for number in columns:
        if left[number]:
            table.add_column(headings[number], overflow="fold")
        else:
            table.add_column(headings[number], justify="right", no_wrap=True)
    for row in cells:
        table.add_row(*(row[number] for number in columns))
    return table


def _folded(text: str, width: int) -> str:
    """A text in lines of at most `width`, folded behind what stands between words."""
    lines = [""]
    for piece in re.split(r"(?<=[./:_ -])", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _full_width_table(headings: list[str], left: list[bool], cells: list[list[str]]) -> str:
    """The same table as wide as it needs to be; written by hand, since Rich takes 0.2 s for 400 rows."""
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    forms = [f"{'<' if is_left else '>'}{width}" for is_left, width in zip(left, widths, strict=True)]
    lines = ["  ".join(map(format, row, forms)).rstrip() for row in [headings, *cells]]
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)
