"""Many cases of one kind: how many are tried, and where the figures go."""

import fcntl
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from soak import commands
from soak.figures import Figures

RELIABILITY = Path(__file__).parents[2] / "RELIABILITY.md"


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> commands.Bench:
    """A trained base."""
    return commands.bench_of(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Figures]]:
    """Call it with what is tried; with `make soak`, a row of RELIABILITY.md says how often and how long."""
    begun: dict[str, Figures] = {}
    began = time.monotonic()
    yield lambda what: begun.setdefault(what, Figures())
    if request.node.get_closest_marker("soak") is None:
        return
    seconds, today = time.monotonic() - began, datetime.now(UTC).date()
    for what, counted in begun.items():
        survived = f"{counted.survived:,}{''.join(f'; {note}' for note in counted.notes)}"
        write(what, f"| {what} | {counted.tried:,} | {survived} | {seconds:,.0f} | {today} |")


def write(what: str, row: str) -> None:
    """Put a row where the one before it stands, or else below the others; tests run in several processes."""
    with RELIABILITY.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        old = re.compile(rf"^\| {re.escape(what)} \|.*$", re.MULTILINE)
        if old.search(text):
            text = old.sub(lambda _: row, text)
        else:
            text = text.replace("\n<!-- more rows -->", f"\n{row}\n<!-- more rows -->")
        file.seek(0)
        file.write(text)
        file.truncate()
