"""Whatever is done to a file is the last thing done once: by death, and by a full or a broken disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from soak import commands
from soak.faults import DIED, UNREACHED
from soak.figures import scaled

SOME = (9, 31)
MOST = 10_000  # calls of one command; there are some hundred
POINTS = commands.short_and_full("some", "every")


@pytest.mark.parametrize(("name", "which"), POINTS)
def test_death_at_every_call(bench, figures, tmp_path: Path, name: str, which: str):
    whole, figure = bench.whole(name), figures(f"`{name}`: death at every call that touches a file")
    for at in points(which):
        with figure.case():
            folder = bench.place(tmp_path / f"died-{at}")
            ended = bench.run(name, folder, kind="die", at=at)
            assert ended.code in (0, DIED), ended.err
            assert "Traceback" not in ended.err
            bench.see_through(name, folder)
            assert commands.results(folder) == whole.results, f"call {at}"
            shutil.rmtree(folder)
        if ended.code == 0:
            break


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(("name", "which"), POINTS)
def test_a_disk_that_fails_at_every_call(bench, figures, tmp_path: Path, name: str, error: str, which: str):
    whole, figure = bench.whole(name), figures(f"`{name}`: {error} at every call that touches a file")
    for at in points(which):
        with figure.case():
            folder = bench.place(tmp_path / f"failed-{at}")
            ended = bench.run(name, folder, kind=error, at=at)
            assert_one_line(ended)
            bench.see_through(name, folder)
            assert commands.results(folder) == whole.results, f"call {at}"
            reached = not (folder / UNREACHED).exists()
            shutil.rmtree(folder)
        if not reached:
            break


@pytest.mark.parametrize(("name", "count"), commands.short_and_full(2, 40))
def test_a_disk_that_is_full_in_the_middle_of_a_file(bench, figures, tmp_path: Path, name: str, count: int):
    whole, figure = bench.whole(name), figures(f"`{name}`: files that may grow to 2 to 40 kB (RLIMIT_FSIZE)")
    for number in range(scaled(count)):
        with figure.case():
            folder = bench.place(tmp_path / f"full-{number}")
            ended = bench.run(name, folder, largest=int(2000 * 20 ** (number / scaled(count))))
            assert_one_line(ended)
            bench.see_through(name, folder)
            assert commands.results(folder) == whole.results
            shutil.rmtree(folder)


def points(which: str) -> Iterator[int]:
    """Calls to fail at, counted from 1."""
    yield from range(1, MOST) if which == "every" else SOME


def assert_one_line(ended: commands.Ended) -> None:
    """It went well all the same, or said in one line why not."""
    assert ended.code in (0, 2), ended.err
    assert "Traceback" not in ended.err
    assert "fault in prune" not in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("error: ")]) == (ended.code != 0)
