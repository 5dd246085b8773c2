"""Modules that are called as Python's own are, and leave a file `ran` where they are imported."""

from pathlib import Path

TAKEN_OVER = tuple(f"{name}.py" for name in ("threading", "multiprocessing", "signal", "socket"))


def lie_in_wait(folder: Path) -> None:
    for name in TAKEN_OVER:
        (folder / name).write_text("open('ran', 'w').close()\nraise SystemExit('taken over')\n")
